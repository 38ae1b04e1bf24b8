package config

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"openclaw-azure/internal/machine"
	"openclaw-azure/internal/prefix"
)

var (
	wholeNumber    = regexp.MustCompile(`^(0|[1-9][0-9]{0,9})$`)
	locationName   = regexp.MustCompile(`^[a-z][a-z0-9]{1,49}$`)
	vmSizeName     = regexp.MustCompile(`^Standard_[A-Z]+[0-9]+(-[0-9]+)?([a-z]*)(_[A-Za-z0-9]+)*$`)
	linuxUser      = regexp.MustCompile(`^[a-z][a-z0-9_-]*$`)
	peerName       = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)
	envName        = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	sha256Digits   = regexp.MustCompile(`^[0-9a-f]{64}$`)
	plainURL       = regexp.MustCompile(`^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~/+-]*)?$`)
	openclawSemver = regexp.MustCompile(`^(20[0-9]{2})\.(1[0-2]|[1-9])\.(3[01]|[12][0-9]|[1-9])(-[1-9][0-9]?)?$`)
)

// What the machine may use inside. The platform's own addresses, 168.63.129.16
// and 169.254.0.0/16, lie outside, and so does everything public.
var private = prefix.MustParse("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")

var anywhere = []string{"*", "any", "internet", "0.0.0.0/0", "::/0"}

// Names that Azure refuses for a VM's administrator.
var azureRefuses = strings.Fields(`administrator admin user user1 test user2 test1 user3 admin1 1 123 a
	actuser adm admin2 aspnet backup console david guest john owner root server sql support
	support_388945a0 sys test2 test3 user4 user5`)

// Users and groups of the images, which cloud-init would find taken.
var imageUsers = strings.Fields(`_apt audio bin cdrom crontab daemon dialout dip disk docker fax floppy games
	haproxy input irc kmem landscape list lp lxd mail man messagebus netdev news nobody nogroup operator
	plugdev pollinate polkitd proxy render sasl sgx shadow src sshd staff sudo sync syslog tape tcpdump tss
	tty unbound usbmux users utmp uucp uuidd video voice www-data`)

// The program's own users.
var ownUsers = []string{machine.Operator, machine.Deploy, machine.Service}

// Ports that something on the machine already holds.
var takenPorts = map[uint16]string{
	machine.BootstrapPort: "the bootstrap door",
	53:                    "the machine's resolver",
	68:                    "the machine's DHCP client",
	machine.GatewayPort:   "OpenClaw's gateway",
}

// Each key of the configuration has a reader here, which refuses its faults and says what to do.

func (r *reader) location() string {
	const want = "expected the short name of an Azure region, lower-case letters and digits"
	v, ok := r.plainText(KeyLocation, want)
	switch {
	case !ok:
	case v == "":
		r.faultKey(KeyLocation, errNotSet, "expected the Azure region to deploy to",
			"pulumi config set azure-native:location westeurope\naz account list-locations --output table    # names all")
	case !locationName.MatchString(v):
		hint := ""
		if short := strings.ToLower(strings.ReplaceAll(v, " ", "")); locationName.MatchString(short) {
			hint = r.reveal(KeyLocation, "pulumi config set azure-native:location "+short)
		}
		r.fault(KeyLocation, v, errNotLocation, want, hint)
	}
	return v
}

// ownAddressHint says how to learn one's own address without asking a third
// party.
func ownAddressHint(key string) string {
	return "pulumi config set " + key + " ADDRESS/32\n" +
		"ADDRESS is the public IPv4 address of the line that you deploy from: your router shows it as its WAN or Internet address"
}

func (r *reader) allowedSSH() []netip.Prefix {
	const want = "expected the public IPv4 prefixes that may knock on port 22, comma-separated"
	v, ok := r.plainText(KeyAllowedSSH, want)
	if !ok {
		return nil
	}
	if v == "" {
		r.faultKey(KeyAllowedSSH, errNotSet, want, ownAddressHint(KeyAllowedSSH))
		return nil
	}
	list := r.sources(KeyAllowedSSH, v, func(item string, p netip.Prefix) bool {
		if slices.Contains(anywhere, strings.ToLower(item)) || p.IsValid() && p.Bits() == 0 {
			r.fault(KeyAllowedSSH, item, errAnywhere, "expected the addresses that you deploy from", ownAddressHint(KeyAllowedSSH))
			return false
		}
		if p.IsValid() && p.Addr().Is4() && p.Bits() < widestSSH {
			r.fault(KeyAllowedSSH, item, errTooWide, fmt.Sprintf("expected /%d or narrower", widestSSH), ownAddressHint(KeyAllowedSSH))
			return false
		}
		return true
	})
	// Sixteen times a sixteenth of the Internet is all of it.
	var admitted uint64
	for _, p := range list {
		admitted += 1 << (32 - p.Bits())
	}
	if admitted > 1<<(32-widestSSH) {
		r.fault(KeyAllowedSSH, v, errTooWide,
			fmt.Sprintf("expected no more than a /%d in all", widestSSH), ownAddressHint(KeyAllowedSSH))
	}
	return list
}

func (r *reader) wireGuardSources(allowedSSH []netip.Prefix) []netip.Prefix {
	const want = "expected the IPv4 prefixes that may knock on WireGuard's port, comma-separated"
	v, ok := r.plainText(KeyWireGuardSources, want)
	if !ok {
		return nil
	}
	if v == "" {
		return allowedSSH
	}
	return r.sources(KeyWireGuardSources, v, func(item string, p netip.Prefix) bool {
		if slices.Contains(anywhere, strings.ToLower(item)) && item != "0.0.0.0/0" {
			r.fault(KeyWireGuardSources, item, errNotPrefix, "expected 0.0.0.0/0 where all of the Internet is meant",
				"pulumi config set wireguardCidrs 0.0.0.0/0")
			return false
		}
		return true
	})
}

// sources reads a list of the prefixes that packets may come from. extra looks
// at each element first, and says false once it has noted a fault.
func (r *reader) sources(key, list string, extra func(item string, p netip.Prefix) bool) []netip.Prefix {
	var out []netip.Prefix
	for item := range strings.SplitSeq(list, ",") {
		item = strings.TrimSpace(item)
		if item == "" {
			r.fault(key, list, errEmptyElement, "expected IPv4 prefixes with one comma between two", "")
			continue
		}
		p, err := netip.ParsePrefix(item)
		if !extra(item, p) {
			continue
		}
		if err != nil {
			hint := ""
			if addr, err := netip.ParseAddr(item); err == nil && addr.Is4() {
				hint = r.reveal(key, item+"/32 is that one address")
			}
			r.fault(key, item, errNotPrefix, "expected an address and a length, such as 20.30.40.50/32", hint)
			continue
		}
		if !r.fourAndMasked(key, item, p) {
			continue
		}
		if prefix.Within(p, prefix.Documentation) {
			r.fault(key, item, errPlaceholder, "expected your own public address, this range is kept for documentation", ownAddressHint(key))
			continue
		}
		if prefix.Within(p, prefix.Unroutable) {
			r.fault(key, item, errUnroutable, "expected an address as Azure sees it, behind your router's translation", ownAddressHint(KeyAllowedSSH))
			continue
		}
		if i := slices.IndexFunc(out, p.Overlaps); i >= 0 {
			r.fault(key, item, errWithin, "expected prefixes that lie apart"+r.reveal(key, ", here is "+out[i].String()+" too"), "")
			continue
		}
		out = append(out, p)
	}
	slices.SortFunc(out, prefix.Compare)
	return out
}

// fourAndMasked refuses IPv6 and host bits.
func (r *reader) fourAndMasked(key, item string, p netip.Prefix) bool {
	if !p.Addr().Is4() {
		r.fault(key, item, errIPv6, "expected an IPv4 prefix", "")
		return false
	}
	if masked := p.Masked(); masked != p {
		r.fault(key, item, errHostBits, "expected the network itself"+r.reveal(key, ", "+masked.String()), "")
		return false
	}
	return true
}

func (r *reader) image() Image {
	names := make([]string, len(images))
	for i, image := range images {
		names[i] = image.Name
	}
	if i := slices.Index(names, r.oneOf(KeyImage, names...)); i >= 0 {
		return images[i]
	}
	return Image{}
}

func (r *reader) vmSize() string {
	v := r.value(KeyVMSize)
	switch {
	case !vmSizeName.MatchString(v):
		r.fault(KeyVMSize, v, errNotSize, "expected a name such as "+r.defaults[KeyVMSize],
			"az vm list-sizes --location LOCATION --output table    # names all")
	case armSize(v):
		r.fault(KeyVMSize, v, errARM64, "expected an x86-64 size, since Azure has no run commands on arm64 and the way back in is one",
			"the same without the \"p\" among the small letters, for example "+r.defaults[KeyVMSize])
	}
	return v
}

func (r *reader) adminUsername() string {
	v := r.value(KeyAdminUsername)
	switch {
	case slices.Contains(azureRefuses, strings.ToLower(v)):
		r.fault(KeyAdminUsername, v, errUserRefused, "expected another name", "azureuser is the default")
	case !linuxUser.MatchString(v) || len(v) > longestUser:
		r.fault(KeyAdminUsername, v, errNotUser,
			fmt.Sprintf("expected a lower-case letter, then lower-case letters, digits, - and _, %d characters at most", longestUser), "")
	case slices.Contains(ownUsers, v):
		r.fault(KeyAdminUsername, v, errUserTaken, "expected a user beside claw, the operator, openclaw-deploy, the program, and openclaw, the service",
			"this user belongs to the bootstrap door alone and is locked out behind it")
	case slices.Contains(imageUsers, v) || strings.HasPrefix(v, "systemd-"):
		r.fault(KeyAdminUsername, v, errUserTaken, "expected a name that the image has no user or group of", "")
	}
	return v
}

// namedRange is a range and the key that it came from.
type namedRange struct {
	key    string
	prefix netip.Prefix
}

func namedRanges(key string, list []netip.Prefix) []namedRange {
	out := make([]namedRange, len(list))
	for i, p := range list {
		out[i] = namedRange{key, p}
	}
	return out
}

// innerRange reads a range that the machine uses inside. A faulty one comes
// back invalid, so that nothing else is measured by it.
func (r *reader) innerRange(key string, apart []namedRange) netip.Prefix {
	v := r.value(key)
	p, err := netip.ParsePrefix(v)
	if err != nil {
		r.fault(key, v, errNotPrefix, "expected an address and a length, such as "+r.defaults[key], "")
		return netip.Prefix{}
	}
	if !r.fourAndMasked(key, v, p) {
		return netip.Prefix{}
	}
	if !prefix.Within(p, private) && p.Bits() >= widestRange {
		r.fault(key, v, errNotPrivate, "expected a part of 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 or 100.64.0.0/10",
			"anything else is the Internet's or the platform's (168.63.129.16, 169.254.0.0/16), and would be out of reach")
		return netip.Prefix{}
	}
	if p.Bits() < widestRange || p.Bits() > tightestNet {
		r.fault(key, v, errRangeSize, fmt.Sprintf("expected a length from /%d to /%d", widestRange, tightestNet), "")
		return netip.Prefix{}
	}
	for _, other := range apart {
		if other.prefix.IsValid() && p.Overlaps(other.prefix) {
			r.fault(key, v, errOverlap, strings.TrimSpace("expected a range apart from "+other.key+r.reveal(other.key, " "+other.prefix.String())), "")
			return netip.Prefix{}
		}
	}
	return p
}
