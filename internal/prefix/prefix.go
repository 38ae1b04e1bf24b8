// Package prefix has what netip leaves to its users.
package prefix

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
)

var (
	// Unroutable are prefixes that no packet on the Internet comes from or goes to (RFC 6890, RFC 5771). The range for
	// tests of networks, 198.18.0.0/15, is none of them: it leads nowhere by itself, and stands for the Internet in the lab.
	Unroutable = MustParse("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8",
		"169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16", "224.0.0.0/3")
	// Documentation is what examples are written with (RFC 5737).
	Documentation = MustParse("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")
	// Special are the rest of what is nobody's address on the Internet (RFC 6890, RFC 7526).
	Special = MustParse("192.0.0.0/24", "192.88.99.0/24")
)

func MustParse(texts ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(texts))
	for i, t := range texts {
		out[i] = netip.MustParsePrefix(t)
	}
	return out
}

// Within tells whether a prefix lies inside one of the ranges.
func Within(prefix netip.Prefix, ranges []netip.Prefix) bool {
	return slices.ContainsFunc(ranges, func(r netip.Prefix) bool {
		return r.Bits() <= prefix.Bits() && r.Contains(prefix.Addr())
	})
}

func Compare(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

func FirstUsable(prefix netip.Prefix) netip.Addr { return prefix.Masked().Addr().Next() }

// LastUsable is the address before the broadcast address of an IPv4 prefix.
func LastUsable(prefix netip.Prefix) netip.Addr {
	a := prefix.Masked().Addr().As4()
	for bit := prefix.Bits(); bit < 32; bit++ {
		a[bit/8] |= 0x80 >> (bit % 8)
	}
	return netip.AddrFrom4(a).Prev()
}

// Strings gives the texts of prefixes, or of addresses with their ports.
func Strings[T fmt.Stringer](all []T) []string {
	var s []string
	for _, each := range all {
		s = append(s, each.String())
	}
	return s
}
