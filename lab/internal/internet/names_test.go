package internet

import (
	"strings"
	"testing"
)

func TestNamesRefused(t *testing.T) {
	long := strings.Repeat("a", 64)
	for _, test := range []struct{ name, text, want string }{
		{"no type", "a.test", `names:1: "a.test": expected NAME A ADDRESS..., NAME AAAA ADDRESS... or NAME CNAME TARGET`},
		{"no address", "\n# why\na.test A # none", `names:3: "a.test A": expected NAME A ADDRESS..., NAME AAAA ADDRESS... or NAME CNAME TARGET`},
		{"type", "a.test MX b.test", `names:1: type "MX" of "a.test": expected A, AAAA or CNAME`},
		{"address", "a.test A 1.2.3", `names:1: address "1.2.3" of "a.test": expected one of IPv4`},
		{"IPv6 in A", "a.test A ::1", `names:1: address "::1" of "a.test": expected one of IPv4`},
		{"IPv4 in AAAA", "a.test AAAA 1.2.3.4", `names:1: address "1.2.3.4" of "a.test": expected one of IPv6`},
		{"zone", "a.test AAAA fe80::1%eth0", `names:1: address "fe80::1%eth0" of "a.test": expected one of IPv6`},
		{"two targets", "a.test CNAME b.test c.test", `names:1: "a.test" has a CNAME: expected one target, and nothing else of that name`},
		{"alias after address", "a.test A 1.2.3.4\nA.test CNAME b.test", `names:2: "A.test" has a CNAME: expected one target, and nothing else of that name`},
		{"address after alias", "a.test CNAME b.test\na.test A 1.2.3.4", `names:2: "a.test" has a CNAME: expected nothing else of that name`},
		{"empty label", "a..test A 1.2.3.4", `names:1: name "a..test": expected labels of 1 to 63 characters with dots between, at most 253 in all`},
		{"long label", long + ".test A 1.2.3.4", `names:1: name "` + long + `.test": expected labels of 1 to 63 characters with dots between, at most 253 in all`},
		{"root", ". A 1.2.3.4", `names:1: name ".": expected labels of 1 to 63 characters with dots between, at most 253 in all`},
		{"target", "a.test CNAME .b", `names:1: name ".b": expected labels of 1 to 63 characters with dots between, at most 253 in all`},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := parseNames("names", []byte(test.text)); err == nil || err.Error() != test.want {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
		})
	}
}

func TestNamesAddUp(t *testing.T) {
	known, err := parseNames("names", []byte("A.test. A 1.2.3.4 1.2.3.5\na.test A 1.2.3.6 # and\na.TEST AAAA ::1\n"))
	if err != nil {
		t.Fatal(err)
	}
	if r := known["a.test."]; len(known) != 1 || r == nil || len(r.a) != 3 || len(r.aaaa) != 1 {
		t.Errorf("got %v", known)
	}
}
