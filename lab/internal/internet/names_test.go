package internet

import (
	"strings"
	"testing"
)

func TestNamesRefused(t *testing.T) {
	long := strings.Repeat("a", 64)
	for _, test := range []struct{ name, text, want string }{
		{"no type", "a.example", `names:1: "a.example": expected NAME A ADDRESS..., NAME AAAA ADDRESS... or NAME CNAME TARGET`},
		{"no address", "\n# why\na.example A # none", `names:3: "a.example A": expected NAME A ADDRESS..., NAME AAAA ADDRESS... or NAME CNAME TARGET`},
		{"type", "a.example MX b.example", `names:1: type "MX" of "a.example": expected A, AAAA or CNAME`},
		{"address", "a.example A 1.2.3", `names:1: address "1.2.3" of "a.example": expected one of IPv4`},
		{"IPv6 in A", "a.example A ::1", `names:1: address "::1" of "a.example": expected one of IPv4`},
		{"IPv4 in AAAA", "a.example AAAA 1.2.3.4", `names:1: address "1.2.3.4" of "a.example": expected one of IPv6`},
		{"zone", "a.example AAAA fe80::1%eth0", `names:1: address "fe80::1%eth0" of "a.example": expected one of IPv6`},
		{"two targets", "a.example CNAME b.example c.example", `names:1: "a.example" has a CNAME: expected one target, and nothing else of that name`},
		{"alias after address", "a.example A 1.2.3.4\nA.example CNAME b.example", `names:2: "A.example" has a CNAME: expected one target, and nothing else of that name`},
		{"address after alias", "a.example CNAME b.example\na.example A 1.2.3.4", `names:2: "a.example" has a CNAME: expected nothing else of that name`},
		{"empty label", "a..example A 1.2.3.4", `names:1: name "a..example": expected labels of 1 to 63 characters with dots between, at most 253 in all`},
		{"long label", long + ".example A 1.2.3.4", `names:1: name "` + long + `.example": expected labels of 1 to 63 characters with dots between, at most 253 in all`},
		{"root", ". A 1.2.3.4", `names:1: name ".": expected labels of 1 to 63 characters with dots between, at most 253 in all`},
		{"target", "a.example CNAME .b", `names:1: name ".b": expected labels of 1 to 63 characters with dots between, at most 253 in all`},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := parseNames("names", []byte(test.text)); err == nil || err.Error() != test.want {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
		})
	}
}

func TestNamesAddUp(t *testing.T) {
	known, err := parseNames("names", []byte("A.example. A 1.2.3.4 1.2.3.5\na.example A 1.2.3.6 # and\na.EXAMPLE AAAA ::1\n"))
	if err != nil {
		t.Fatal(err)
	}
	if r := known["a.example."]; len(known) != 1 || r == nil || len(r.a) != 3 || len(r.aaaa) != 1 {
		t.Errorf("got %v", known)
	}
}
