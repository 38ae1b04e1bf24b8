package host

import (
	"slices"
	"strings"

	"openclaw-azure/internal/layer"
)

// loadedRules is the whole table `filter` as UFW 0.36.2 loads it from its own files and the layer's, in the words of
// `iptables -S`. The applier puts a user's number for {uid:NAME}.
const loadedRules = `-P INPUT DROP
-P FORWARD DROP
-P OUTPUT ACCEPT
STAGES
-A ufw-after-input -p udp -m udp --dport 137 -j ufw-skip-to-policy-input
-A ufw-after-input -p udp -m udp --dport 138 -j ufw-skip-to-policy-input
-A ufw-after-input -p tcp -m tcp --dport 139 -j ufw-skip-to-policy-input
-A ufw-after-input -p tcp -m tcp --dport 445 -j ufw-skip-to-policy-input
-A ufw-after-input -p udp -m udp --dport 67 -j ufw-skip-to-policy-input
-A ufw-after-input -p udp -m udp --dport 68 -j ufw-skip-to-policy-input
-A ufw-after-input -m addrtype --dst-type BROADCAST -j ufw-skip-to-policy-input
-A ufw-after-logging-forward -m limit --limit 3/min --limit-burst 10 -j LOG --log-prefix "[UFW BLOCK] "
-A ufw-after-logging-input -m limit --limit 3/min --limit-burst 10 -j LOG --log-prefix "[UFW BLOCK] "
-A ufw-before-forward -j ufw-user-forward
-A ufw-before-input -i lo -j ACCEPT
-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-input -m conntrack --ctstate INVALID -j ufw-logging-deny
-A ufw-before-input -m conntrack --ctstate INVALID -j DROP
-A ufw-before-input -p icmp -m icmp --icmp-type 3 -j ACCEPT
-A ufw-before-input -p icmp -m icmp --icmp-type 11 -j ACCEPT
-A ufw-before-input -p icmp -m icmp --icmp-type 12 -j ACCEPT
-A ufw-before-input -p icmp -m icmp --icmp-type 8 -j ACCEPT
-A ufw-before-input -p udp -m udp --sport 67 --dport 68 -j ACCEPT
-A ufw-before-input -j ufw-not-local
-A ufw-before-input -j ufw-user-input
NETWORK
-A ufw-before-output -j ufw-user-output
-A ufw-logging-allow -m limit --limit 3/min --limit-burst 10 -j LOG --log-prefix "[UFW ALLOW] "
-A ufw-logging-deny -m conntrack --ctstate INVALID -m limit --limit 3/min --limit-burst 10 -j RETURN
-A ufw-logging-deny -m limit --limit 3/min --limit-burst 10 -j LOG --log-prefix "[UFW BLOCK] "
-A ufw-not-local -m addrtype --dst-type LOCAL -j RETURN
-A ufw-not-local -m limit --limit 3/min --limit-burst 10 -j ufw-logging-deny
-A ufw-not-local -j DROP
-A ufw-skip-to-policy-forward -j DROP
-A ufw-skip-to-policy-input -j DROP
-A ufw-skip-to-policy-output -j ACCEPT
-A ufw-track-output -p tcp -m conntrack --ctstate NEW -j ACCEPT
-A ufw-track-output -p udp -m conntrack --ctstate NEW -j ACCEPT
ADMITTED
-A ufw-user-limit -m limit --limit 3/min -j LOG --log-prefix "[UFW LIMIT BLOCK] "
-A ufw-user-limit -j REJECT --reject-with icmp-port-unreachable
-A ufw-user-limit-accept -j ACCEPT`

// ufwStages are the chains that a packet goes through, one after the other, in each direction.
var ufwStages = []string{"before-logging", "before", "after", "after-logging", "reject", "track"}

// ufwChains are those that UFW makes, empty ones too; stages are the rules that lead to those of ufwStages.
func ufwChains() (chains, stages []string) {
	chains = []string{"logging-allow", "logging-deny", "not-local", "user-limit", "user-limit-accept"}
	for _, direction := range []string{"INPUT", "FORWARD", "OUTPUT"} {
		of := "-" + strings.ToLower(direction)
		for _, stage := range ufwStages {
			stages = append(stages, "-A "+direction+" -j ufw-"+stage+of)
			chains = append(chains, stage+of)
		}
		chains = append(chains, "skip-to-policy"+of, "user"+of, "user-logging"+of)
	}
	slices.Sort(chains)
	return chains, stages
}

// loaded is what both packet filters are to hold, as the kernel says it. fail2ban's own rules are let be, where it uses
// iptables: they only refuse.
func (h *Host) loaded() []layer.Probe {
	var admitted []string
	for _, a := range h.Admitted {
		admitted = append(admitted, a.loaded())
	}
	chains, stages := ufwChains()
	rules := strings.NewReplacer(
		"STAGES", strings.Join(stages, "\n"),
		"NETWORK", strings.Join(h.networkRules(), "\n"),
		"ADMITTED", strings.Join(admitted, "\n"),
	).Replace(loadedRules)
	want := strings.Split(rules, "\n")
	for _, chain := range chains {
		want = append(want, "-N ufw-"+chain)
	}
	// Where UFW's chains are there, a reload never puts back its own rules in them.
	rebuild := [][]string{{"/usr/lib/ufw/ufw-init", "flush-all"}}
	jail := []string{`-N f2b-sshd`, `-A INPUT -p tcp -m multiport --dports [0-9,]+ -j f2b-sshd`, `-A f2b-sshd -s \S+ -j (REJECT --reject-with \S+|DROP)`, `-A f2b-sshd -j RETURN`}
	return []layer.Probe{
		layer.IPTables("filter", want, jail, rebuild),
		layer.IPTables("security", platformRules(), nil, nil),
		layer.IP6Tables([]string{"-P INPUT DROP", "-P FORWARD DROP", "-P OUTPUT DROP", "-A INPUT -i lo -j ACCEPT", "-A OUTPUT -o lo -j ACCEPT"}, nil, rebuild),
		layer.NFTables(),
		layer.Shell("rules of the older kind of iptables", "", legacyRules),
		layer.Shell("kind of iptables", "nf_tables", `for tool in iptables ip6tables; do $tool -V | sed 's/.*(//; s/)//'; done | sort -u`),
		layer.Routes(),
	}
}

// legacyRules prints what the older kind of iptables holds: the kernel obeys both kinds, and neither lists the other's.
const legacyRules = `for tool in iptables ip6tables; do for table in $(cat /proc/net/${tool%tables}_tables_names 2>/dev/null); do
$tool-legacy -w 5 -t $table -S | sed "/^-P [A-Z]* ACCEPT\$/d; s/^/$tool-legacy -t $table /"; done; done`

// onlyNft empties the older kind, and makes the newer one what iptables, and so UFW, is.
const onlyNft = `for tool in iptables ip6tables; do for table in $(cat /proc/net/${tool%tables}_tables_names 2>/dev/null); do
$tool-legacy -w 5 -t $table -S | sed -n 's/^-P \([A-Z]*\) .*/\1/p' | xargs -I CHAIN $tool-legacy -w 5 -t $table -P CHAIN ACCEPT
$tool-legacy -w 5 -t $table -F; $tool-legacy -w 5 -t $table -X; done; update-alternatives --quiet --set $tool /usr/sbin/$tool-nft; done`
