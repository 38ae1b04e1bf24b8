package scenarios

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// tampering is something done to the host that the next preview has to name, and the next run to undo.
type tampering struct {
	name, layer string
	few         bool     // `make test` runs it too; `make drift` runs all
	open        bool     // done while port 22 is open
	do          string   // on the host, as root
	account     []string // what the preview says, to the letter
	undone      string   // on the host: succeeds once it is undone
}

// strangerKey is a well-formed key of nobody's.
const (
	strangerKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA stranger"
	strangerSum = "SHA256:kmYcvdi2GkPeWxB6XLjrZB8JHsy2Hm8luHMFp9GMvqk"
)

const nobodyDeclared = ": expected nothing, found a file that nobody declared"

var tamperings = []tampering{
	// While port 22 is open.
	{name: "fail2ban is stopped", layer: "fail2ban", open: true, few: true, do: `systemctl stop fail2ban`,
		account: []string{"unit fail2ban.service: expected active, found inactive", "fail2ban jail sshd: expected running, found no answer: No such file or directory"},
		undone:  `fail2ban-client get sshd maxretry | grep -qx 3`},
	{name: "a sudoers file while open", layer: "base", open: true, few: true, do: `echo 'games ALL=(ALL) NOPASSWD:ALL' >/etc/sudoers.d/zz; chmod 440 /etc/sudoers.d/zz`,
		account: []string{"/etc/sudoers.d/zz" + nobodyDeclared}, undone: `! test -e /etc/sudoers.d/zz; grep -rq games /var/lib/openclaw-deploy/quarantine`},
	{name: "port 22 opened to all", layer: "firewall", open: true, few: true, do: `iptables -I INPUT -p tcp --dport 22 -j ACCEPT`,
		account: []string{"iptables filter INPUT: expected nothing more, found -A INPUT -p tcp -m tcp --dport 22 -j ACCEPT"}, undone: `! iptables -C INPUT -p tcp --dport 22 -j ACCEPT 2>/dev/null`},
	{name: "a key of azureuser's while open", layer: "base", open: true, do: `echo '` + strangerKey + `' >>/home/azureuser/.ssh/authorized_keys`,
		account: []string{"/home/azureuser/.ssh/authorized_keys: expected no key that nobody declared, found key " + strangerSum},
		undone:  `! grep -q stranger /home/azureuser/.ssh/authorized_keys; grep -q . /home/azureuser/.ssh/authorized_keys`},

	// base
	{name: "a sudoers file", layer: "base", few: true, do: `echo 'mallory ALL=(ALL) NOPASSWD:ALL' >/etc/sudoers.d/evil; chmod 440 /etc/sudoers.d/evil`,
		account: []string{"/etc/sudoers.d/evil" + nobodyDeclared}, undone: `! test -e /etc/sudoers.d/evil`},
	{name: "a line in /etc/sudoers", layer: "base", do: `echo 'games ALL=(ALL) NOPASSWD:ALL' >>/etc/sudoers`,
		account: []string{"/etc/sudoers: expected as the image brought it, found content differs"}, undone: `! grep -q games /etc/sudoers; visudo -cq`},
	{name: "the sudoers file of ours", layer: "base", do: `chmod 644 /etc/sudoers.d/10-openclaw`,
		account: []string{"/etc/sudoers.d/10-openclaw: expected mode 0440, found mode 0644"}, undone: `test $(stat -c %a /etc/sudoers.d/10-openclaw) = 440`},
	{name: "a user with shell, password and key", layer: "base", few: true,
		do: `useradd -m -s /bin/bash mallory; echo 'mallory:canary' | chpasswd; echo mine >/home/mallory/note
mkdir /home/mallory/.ssh; echo '` + strangerKey + `' >/home/mallory/.ssh/authorized_keys; chown -R mallory: /home/mallory`,
		account: []string{"user mallory: expected no access that nobody declared, found shell /bin/bash, a password",
			"/home/mallory/.ssh/authorized_keys: expected no key that nobody declared, found key " + strangerSum},
		undone: `test "$(getent passwd mallory | cut -d: -f7) $(getent shadow mallory | cut -d: -f2) $(cat /home/mallory/note)" = '/usr/sbin/nologin * mine'; ! test -e /home/mallory/.ssh/authorized_keys`},
	{name: "a second root", layer: "base", do: `useradd -o -u 0 -g 0 -M -d /root -s /bin/sh toor`,
		account: []string{"user toor: expected no access that nobody declared, found uid 0, which is another's, shell /bin/sh, group root"}, undone: `! getent passwd toor; test -d /root`},
	{name: "a member of sudo", layer: "base", do: `gpasswd -a www-data sudo >/dev/null`,
		account: []string{"user www-data: expected no access that nobody declared, found group sudo"}, undone: `! id -nG www-data | grep -qw sudo`},
	{name: "a password of root's", layer: "base", do: `echo root:canary | chpasswd`,
		account: []string{"user root: expected no password, found a password"}, undone: `getent shadow root | grep -q '^root:[*!]'`},
	{name: "a key of root's", layer: "base", few: true, do: `echo '` + strangerKey + `' >>/root/.ssh/authorized_keys`,
		account: []string{"/root/.ssh/authorized_keys: expected no key that nobody declared, found key " + strangerSum}, undone: `! grep -q stranger /root/.ssh/authorized_keys`},
	{name: "a key of azureuser's while closed", layer: "base", do: `echo '` + strangerKey + `' >>/home/azureuser/.ssh/authorized_keys2`,
		account: []string{"/home/azureuser/.ssh/authorized_keys2: expected no key that nobody declared, found key " + strangerSum}, undone: `! test -e /home/azureuser/.ssh/authorized_keys2`},
	{name: "a key of claw's", layer: "base", do: `echo '` + strangerKey + `' >>/etc/ssh/authorized_keys/claw`,
		account: []string{"/etc/ssh/authorized_keys/claw: expected content as deployed, found content differs"}, undone: `! grep -q stranger /etc/ssh/authorized_keys/claw`},
	{name: "a key of root's where sshd looks", layer: "ssh", do: `echo '` + strangerKey + `' >/etc/ssh/authorized_keys/root`,
		account: []string{"/etc/ssh/authorized_keys/root: expected nothing, found a file that nobody declared"}, undone: `! test -e /etc/ssh/authorized_keys/root`},
	{name: "a shell for the service's user", layer: "base", do: `usermod -s /bin/bash openclaw`,
		account: []string{"user openclaw: shell: expected /usr/sbin/nologin, found /bin/bash"}, undone: `getent passwd openclaw | grep -q nologin`},
	{name: "a home of the service's user, which runs", layer: "base", do: `sed -i '/^openclaw:/s#:/nonexistent:#:/var/lib/openclaw:#' /etc/passwd`,
		account: []string{"user openclaw: home: expected /nonexistent, found /var/lib/openclaw"}, undone: `test "$(getent passwd openclaw | cut -d: -f6)" = /nonexistent`},
	{name: "a shell and groups for the gate's and the resolver's user", layer: "base", do: `usermod -s /bin/bash haproxy; gpasswd -a unbound sudo >/dev/null`,
		account: []string{"user haproxy: expected no access that nobody declared, found shell /bin/bash", "user unbound: expected no access that nobody declared, found group sudo"},
		undone:  `getent passwd haproxy | grep -q nologin; ! id -nG unbound | grep -qw sudo`},
	{name: "groups of the service's user", layer: "base", do: `gpasswd -a openclaw adm >/dev/null`,
		account: []string{"user openclaw: groups: expected none, found adm"}, undone: `test "$(id -nG openclaw)" = openclaw`},
	{name: "a job in cron.d", layer: "base", few: true, do: `echo '* * * * * root true' >/etc/cron.d/evil`,
		account: []string{"/etc/cron.d/evil" + nobodyDeclared}, undone: `! test -e /etc/cron.d/evil`},
	{name: "a crontab of root's", layer: "base", do: `mkdir -p /var/spool/cron/crontabs; echo '0 0 1 1 * true' >/var/spool/cron/crontabs/root; chmod 600 /var/spool/cron/crontabs/root`,
		account: []string{"/var/spool/cron/crontabs/root" + nobodyDeclared}, undone: `! test -e /var/spool/cron/crontabs/root`},
	{name: "a daily script of a package's", layer: "base", do: `echo 'true' >>/etc/cron.daily/dpkg`,
		account: []string{"/etc/cron.daily/dpkg: expected as the image brought it, found content differs"}, undone: `test $(tail -n 1 /etc/cron.daily/dpkg) != true`},
	{name: "a service and a timer", layer: "base", few: true,
		do: `printf '[Service]\nExecStart=/bin/sleep 1d\n[Install]\nWantedBy=multi-user.target\n' >/etc/systemd/system/evil.service; printf '[Timer]\nOnCalendar=yearly\n' >/etc/systemd/system/evil.timer
systemctl daemon-reload; systemctl enable --now -q evil.service`,
		account: []string{"/etc/systemd/system/evil.service" + nobodyDeclared, "/etc/systemd/system/evil.timer" + nobodyDeclared,
			"/etc/systemd/system/multi-user.target.wants/evil.service: expected nothing, found a symlink to /etc/systemd/system/evil.service that nobody declared"},
		undone: `! systemctl -q is-active evil.service; ! systemctl cat evil.service 2>/dev/null`},
	{name: "a drop-in of sshd's unit", layer: "base", do: `mkdir -p /etc/systemd/system/ssh.service.d; printf '[Service]\nNice=1\n' >/etc/systemd/system/ssh.service.d/evil.conf; systemctl daemon-reload`,
		account: []string{"/etc/systemd/system/ssh.service.d/evil.conf" + nobodyDeclared}, undone: `test -z "$(systemctl show -P DropInPaths ssh.service)"`},
	{name: "a drop-in of our unit's in /run", layer: "base", do: `mkdir -p /run/systemd/system/openclaw.service.d; printf '[Service]\nUser=root\n' >/run/systemd/system/openclaw.service.d/evil.conf; systemctl daemon-reload`,
		account: []string{"/run/systemd/system/openclaw.service.d/evil.conf" + nobodyDeclared}, undone: `test "$(systemctl show -P User openclaw.service)" = openclaw`},
	{name: "a unit of a package's", layer: "base", do: `sed -i 's,^ExecStart=,ExecStartPre=/bin/true\n&,' /usr/lib/systemd/system/cron.service; systemctl daemon-reload`,
		account: []string{"/usr/lib/systemd/system/cron.service: expected as the image brought it, found content differs"}, undone: `! grep -q ExecStartPre /usr/lib/systemd/system/cron.service`},
	{name: "sudo asks for no password", layer: "base", do: `sed -i '1i auth sufficient pam_permit.so' /etc/pam.d/sudo`,
		account: []string{"/etc/pam.d/sudo: expected as the image brought it, found content differs"}, undone: `! grep -q pam_permit /etc/pam.d/sudo`},
	{name: "services of the agent's that outlive it", layer: "base", do: `mkdir -p /var/lib/systemd/linger; touch /var/lib/systemd/linger/openclaw`,
		account: []string{"/var/lib/systemd/linger/openclaw" + nobodyDeclared}, undone: `! test -e /var/lib/systemd/linger/openclaw`},
	{name: "a library in every program", layer: "base", do: `echo >/etc/ld.so.preload`,
		account: []string{"/etc/ld.so.preload" + nobodyDeclared}, undone: `! test -e /etc/ld.so.preload`},
	{name: "a package is gone", layer: "base", do: `apt-get remove -qq -y needrestart >/dev/null 2>&1`,
		account: []string{"package needrestart: expected installed, found missing"}, undone: `command -v needrestart`},

	// sysctl
	{name: "forwarding", layer: "sysctl", few: true, do: `sysctl -qw net.ipv4.ip_forward=1`,
		account: []string{"sysctl net.ipv4.ip_forward: expected 0, found 1"}, undone: `grep -qx 0 /proc/sys/net/ipv4/ip_forward`},
	{name: "redirects on one interface", layer: "sysctl", few: true, do: `sysctl -qw net.ipv4.conf.eth0.accept_redirects=1 net.ipv4.conf.wg0.rp_filter=2`,
		account: []string{"sysctl net.ipv4.conf.eth0.accept_redirects: expected 0, found 1", "sysctl net.ipv4.conf.wg0.rp_filter: expected 1, found 2"},
		undone:  `test "$(cat /proc/sys/net/ipv4/conf/eth0/accept_redirects /proc/sys/net/ipv4/conf/wg0/rp_filter | tr '\n' ' ')" = '0 1 '`},
	{name: "everybody writes the sysctls", layer: "sysctl", do: `chmod 666 /etc/sysctl.d/99-zz-openclaw.conf`,
		account: []string{"/etc/sysctl.d/99-zz-openclaw.conf: expected mode 0644, found mode 0666"}, undone: `test $(stat -c %a /etc/sysctl.d/99-zz-openclaw.conf) = 644`},

	// wireguard
	{name: "a peer", layer: "wireguard", few: true, do: `wg set wg0 peer AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE= allowed-ips 10.100.0.77/32`,
		account: []string{"wireguard wg0 peer AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=: expected no peer, found 10.100.0.77/32"}, undone: `! wg show wg0 peers | grep -q AQEB`},
	{name: "the tunnel's file", layer: "wireguard", do: `echo '# mine' >>/etc/wireguard/wg0.conf`,
		account: []string{"/etc/wireguard/wg0.conf: expected content as deployed, found content differs"}, undone: `! grep -q mine /etc/wireguard/wg0.conf`},
	{name: "the tunnel does not start again", layer: "wireguard", do: `systemctl disable -q wg-quick@wg0`,
		account: []string{"unit wg-quick@wg0.service: expected enabled, found disabled"}, undone: `systemctl -q is-enabled wg-quick@wg0`},

	// firewall
	{name: "a rule beside UFW's", layer: "firewall", few: true, do: `iptables -I INPUT -p tcp --dport 8080 -j ACCEPT`,
		account: []string{"iptables filter INPUT: expected nothing more, found -A INPUT -p tcp -m tcp --dport 8080 -j ACCEPT"}, undone: `! iptables -C INPUT -p tcp --dport 8080 -j ACCEPT 2>/dev/null`},
	{name: "a chain beside UFW's", layer: "firewall", do: `iptables -N evil; iptables -A evil -j ACCEPT; iptables -A ufw-not-local -p tcp --dport 9 -j evil`,
		account: []string{"iptables filter evil: expected nothing more, found -N evil; -A evil -j ACCEPT", "iptables filter ufw-not-local: expected nothing more, found -A ufw-not-local -p tcp -m tcp --dport 9 -j evil"},
		undone:  `! iptables -S evil 2>/dev/null`},
	{name: "a rule of UFW's", layer: "firewall", do: `ufw allow 8081/tcp >/dev/null`,
		account: []string{"/etc/ufw/user.rules: expected content as deployed, found content differs", "iptables filter ufw-user-input: expected nothing more, found -A ufw-user-input -p tcp -m tcp --dport 8081 -j ACCEPT"},
		undone:  `! ufw status | grep -q 8081`},
	{name: "a port is turned", layer: "firewall", few: true, do: `iptables -t nat -A PREROUTING -p tcp --dport 80 -j REDIRECT --to-ports 2222`,
		account: []string{"nftables table ip nat: expected nothing, found 1 rule that nobody declared"}, undone: `! nft list ruleset | grep -q redirect`},
	{name: "a table of nftables'", layer: "firewall", do: `nft add table inet evil; nft add chain inet evil in '{ type filter hook input priority -5 ; }'; nft add rule inet evil in tcp dport 9 accept; nft add rule inet evil in tcp dport 10 accept`,
		account: []string{"nftables table inet evil: expected nothing, found 2 rules that nobody declared"}, undone: `! nft list table inet evil 2>/dev/null`},
	{name: "IPv6 is let in", layer: "firewall", do: `ip6tables -P INPUT ACCEPT`,
		account: []string{"ip6tables filter INPUT: expected -P INPUT DROP, found -P INPUT ACCEPT"}, undone: `ip6tables -S INPUT | grep -qx -- '-P INPUT DROP'`},
	{name: "the gate is let inside", layer: "firewall", do: `n=$(iptables -S ufw-before-output | grep -n -m 1 169.254 | cut -d: -f1); iptables -D ufw-before-output $((n-1))`,
		account: []string{"iptables filter ufw-before-output: expected -A ufw-before-output -d 169.254.0.0/16 -m owner --uid-owner UID -j REJECT --reject-with icmp-port-unreachable, found missing"},
		undone:  `iptables -S ufw-before-output | grep -q 169.254`},
	{name: "one of the platform's rules twice", layer: "firewall", do: `iptables -t security -A OUTPUT -d 168.63.129.16 -p tcp -m owner --uid-owner 0 -j ACCEPT`,
		account: []string{"iptables security OUTPUT: expected nothing more, found -A OUTPUT -d 168.63.129.16/32 -p tcp -m owner --uid-owner 0 -j ACCEPT"},
		undone:  `test "$(iptables -t security -S OUTPUT | grep -c 168.63.129.16)" = 3`},
	{name: "what UFW runs", layer: "firewall", do: `echo true >>/etc/ufw/before.init`,
		account: []string{"/etc/ufw/before.init: expected as the image brought it, found content differs"}, undone: `! tail -n 1 /etc/ufw/before.init | grep -qx true`},

	// Of each kind of packet filter, and of what leads packets on their way: in a form that leaves the tunnel open.
	{name: "iptables' table raw", layer: "firewall", few: true, do: `iptables -t raw -A PREROUTING -p tcp --dport 9 -j DROP`,
		account: []string{"nftables table ip raw: expected nothing, found 1 rule that nobody declared"}, undone: `! nft list table ip raw 2>/dev/null`},
	{name: "iptables' table mangle", layer: "firewall", do: `iptables -t mangle -A OUTPUT -p tcp --dport 9 -j DROP`,
		account: []string{"nftables table ip mangle: expected nothing, found 1 rule that nobody declared"}, undone: `! nft list table ip mangle 2>/dev/null | grep -q dport`},
	{name: "ip6tables' table raw", layer: "firewall", do: `ip6tables -t raw -P PREROUTING DROP`,
		account: []string{"nftables table ip6 raw: expected nothing, found 0 rules that nobody declared"}, undone: `! nft list table ip6 raw 2>/dev/null`},
	{name: "OUTPUT rejects", layer: "firewall", few: true, do: `iptables -I OUTPUT -p tcp --sport 9 -j REJECT`,
		account: []string{"iptables filter OUTPUT: expected nothing more, found -A OUTPUT -p tcp -m tcp --sport 9 -j REJECT --reject-with icmp-port-unreachable"},
		undone:  `! iptables -S OUTPUT | grep -q REJECT`},
	{name: "legacy iptables", layer: "firewall", few: true, do: `iptables-legacy -t raw -A PREROUTING -p tcp --dport 9 -j DROP`,
		account: []string{"rules of the older kind of iptables: expected , found iptables-legacy -t raw -A PREROUTING -p tcp -m tcp --dport 9 -j DROP"},
		undone:  `! iptables-legacy -t raw -S | grep -q DROP`},
	{name: "a filter at the interface's ingress", layer: "firewall", few: true, do: `nft 'add table netdev evil; add chain netdev evil in { type filter hook ingress device "eth0" priority 0; }; add rule netdev evil in tcp dport 9 drop'`,
		account: []string{"nftables table netdev evil: expected nothing, found 1 rule that nobody declared"}, undone: `! nft list table netdev evil 2>/dev/null`},
	{name: "a filter of ARP", layer: "firewall", do: `nft 'add table arp evil; add chain arp evil in { type filter hook input priority 0; }; add rule arp evil in arp saddr ip 192.0.2.7 drop'`,
		account: []string{"nftables table arp evil: expected nothing, found 1 rule that nobody declared"}, undone: `! nft list table arp evil 2>/dev/null`},
	{name: "nftables' own rules at boot", layer: "firewall", do: `systemctl enable -q nftables.service`,
		account: []string{"unit nftables.service: expected disabled, found enabled"}, undone: `! systemctl -q is-enabled nftables.service`},
	{name: "a blackhole route", layer: "firewall", few: true, do: `ip route add blackhole 192.0.2.0/24`,
		account: []string{"route 192.0.2.0/24: expected nothing, found blackhole, table main, that nobody declared"}, undone: `! ip route | grep -q blackhole`},
	{name: "a prohibit route", layer: "firewall", do: `ip route add prohibit 203.0.113.7 table local`,
		account: []string{"route 203.0.113.7: expected nothing, found prohibit, table local, that nobody declared"}, undone: `! ip route show table local | grep -q prohibit`},
	{name: "a stale route", layer: "firewall", few: true, do: `ip route add 203.0.113.0/24 via 10.0.0.77`,
		account: []string{"route 203.0.113.0/24: expected nothing, found unicast 10.0.0.77 eth0, table main, that nobody declared"}, undone: `! ip route | grep -q 10.0.0.77`},
	{name: "a policy rule", layer: "firewall", few: true, do: `ip rule add pref 100 to 192.0.2.0/24 prohibit`,
		account: []string{"policy rule 100: from all to 192.0.2.0/24 prohibit: expected nothing, found a rule that nobody declared"}, undone: `test $(ip -4 rule | wc -l) = 3`},
	{name: "a smaller MTU", layer: "firewall", do: `ip link set dev eth0 mtu 1400`,
		account: []string{"MTU of eth0: expected 1500 or more, found 1400"}, undone: `test $(cat /sys/class/net/eth0/mtu) = 1500`},
	{name: "systemd-networkd is masked", layer: "firewall", do: `systemctl mask -q --now systemd-networkd.socket systemd-networkd.service 2>/dev/null; true`,
		account: []string{"systemd-networkd: expected active, found inactive"}, undone: `systemctl -q is-active systemd-networkd.service`},

	// ssh
	{name: "a drop-in of sshd's", layer: "ssh", few: true, do: `echo 'PermitTTY no' >/etc/ssh/sshd_config.d/99-evil.conf`,
		account: []string{"/etc/ssh/sshd_config.d/99-evil.conf" + nobodyDeclared}, undone: `! test -e /etc/ssh/sshd_config.d/99-evil.conf`},
	{name: "sshd's own file", layer: "ssh", do: `printf 'Match User root\n  PermitRootLogin yes\n' >>/etc/ssh/sshd_config`,
		account: []string{"/etc/ssh/sshd_config: expected as the image brought it, found content differs"}, undone: `! grep -q 'Match User root' /etc/ssh/sshd_config`},
	{name: "sshd takes passwords", layer: "ssh", do: `sed -i 's/^PasswordAuthentication no/PasswordAuthentication yes/' /etc/ssh/sshd_config.d/00-openclaw.conf; systemctl restart ssh`,
		account: []string{"/etc/ssh/sshd_config.d/00-openclaw.conf: expected content as deployed, found content differs", "sshd for claw on port 2222: passwordauthentication: expected no, found yes"},
		undone:  `sshd -T -C user=claw,host=x,addr=10.100.0.2,lport=2222 | grep -qx 'passwordauthentication no'`},
	{name: "socket activation", layer: "ssh", do: `systemctl enable -q ssh.socket`,
		account: []string{"unit ssh.socket: expected disabled, found enabled"}, undone: `! systemctl -q is-enabled ssh.socket`},

	// fail2ban
	{name: "more tries", layer: "fail2ban", few: true, do: `fail2ban-client set sshd maxretry 50 >/dev/null`,
		account: []string{"fail2ban jail sshd: maxretry: expected 3, found 50"}, undone: `fail2ban-client get sshd maxretry | grep -qx 3`},
	{name: "an address that is never banned", layer: "fail2ban", do: `printf '[DEFAULT]\nignoreip = 0.0.0.0/0\n' >/etc/fail2ban/jail.d/zz.local`,
		account: []string{"/etc/fail2ban/jail.d/zz.local" + nobodyDeclared}, undone: `! test -e /etc/fail2ban/jail.d/zz.local`},

	// updates
	{name: "no upgrades", layer: "updates", do: `systemctl disable -q --now apt-daily-upgrade.timer`,
		account: []string{"unit apt-daily-upgrade.timer: expected enabled, found disabled", "unit apt-daily-upgrade.timer: expected active, found inactive"}, undone: `systemctl -q is-active apt-daily-upgrade.timer`},
	{name: "a reboot after upgrades", layer: "updates", do: `echo 'Unattended-Upgrade::Automatic-Reboot "true";' >>/etc/apt/apt.conf.d/52openclaw-upgrades`,
		account: []string{"/etc/apt/apt.conf.d/52openclaw-upgrades: expected content as deployed, found content differs",
			`reboot after an upgrade: expected Unattended-Upgrade::Automatic-Reboot "false";, found Unattended-Upgrade::Automatic-Reboot "true";`},
		undone: `apt-config dump Unattended-Upgrade::Automatic-Reboot | grep -q false`},

	// network
	{name: "a list of the gate's", layer: "network", do: `sed -i /^169.254/d /etc/openclaw-gate/never; systemctl reload openclaw-gate`,
		account: []string{"/etc/openclaw-gate/never: expected content as deployed, found content differs"}, undone: `grep -q ^169.254 /etc/openclaw-gate/never`},
	{name: "a link into the agent's network", layer: "network", few: true, do: `ip link add evil type veth peer name evil netns openclaw`,
		account: []string{"links of the agent's network: expected lo, found evil; lo"}, undone: `test "$(ip -n openclaw -br link | wc -l)" = 1`},
	{name: "a package's own gate", layer: "base", do: `systemctl unmask -q haproxy.service`,
		account: []string{"unit haproxy.service: expected masked, found not masked"}, undone: `systemctl is-enabled haproxy.service | grep -qx masked`},

	// providers
	{name: "a key of somebody else's is loaded", layer: "providers", do: `echo 'evil k' >>/etc/openclaw-keys/keys; systemctl start openclaw-keys.service`,
		account: []string{"/etc/openclaw-keys/keys: expected content as deployed, found content differs"},
		undone:  `! grep -q evil /etc/openclaw-keys/keys && test "$(openclaw-egress keys)" = 'as in its files'`},
	{name: "what adds keys has no end", layer: "providers", few: true, do: `systemctl stop openclaw-keys.socket`,
		account: []string{"unit openclaw-keys.socket: expected active, found inactive", "the keys' port in the agent's network: expected 127.0.0.1:81, found nothing"},
		undone:  `systemctl -q is-active openclaw-keys.socket`},

	// openclaw
	{name: "everybody reads the environment", layer: "openclaw", few: true, do: `chmod 644 /etc/openclaw.env`,
		account: []string{"/etc/openclaw.env: expected mode 0640, found mode 0644"}, undone: `test $(stat -c %a /etc/openclaw.env) = 640`},
	{name: "everybody reads the state", layer: "openclaw", do: `chmod 755 /var/lib/openclaw`,
		account: []string{"/var/lib/openclaw: expected mode 0700, found mode 0755"}, undone: `test $(stat -c %a /var/lib/openclaw) = 700`},
	{name: "the sandbox is taken off", layer: "openclaw", do: `sed -i '/^NoNewPrivileges/d' /etc/systemd/system/openclaw.service; systemctl daemon-reload`,
		account: []string{"/etc/systemd/system/openclaw.service: expected content as deployed, found content differs"}, undone: `test "$(systemctl show -P NoNewPrivileges openclaw.service)" = yes`},

	// backup
	{name: "no backups", layer: "backup", few: true, do: `systemctl stop openclaw-backup.timer`,
		account: []string{"unit openclaw-backup.timer: expected active, found inactive"}, undone: `systemctl -q is-active openclaw-backup.timer`},
	{name: "the agent reaches the backups", layer: "backup", do: `chown openclaw /backups/openclaw`,
		account: []string{"/backups/openclaw: expected owner root:claw, found owner openclaw:claw"}, undone: `test $(stat -c %U /backups/openclaw) = root`},
}

// innocent is something done to the host that is nobody's concern.
type innocent struct{ name, do string }

var innocents = []innocent{
	{"a log is rotated", `logger something; journalctl -q --rotate; echo old >/var/log/x.log; mv /var/log/x.log /var/log/x.log.1`},
	{"a key of the operator's in openclaw.env", `echo MY_KEY=canary >>/etc/openclaw.env`},
	{"OpenClaw's own state", `runuser -u openclaw -- sh -c 'mkdir -p /var/lib/openclaw/.openclaw; echo {} >/var/lib/openclaw/.openclaw/state.json'`},
	{"files of the operator's", `runuser -u claw -- sh -c 'echo x >~/note; mkdir -p ~/.config'`},
	{"a crontab of the operator's", `mkdir -p /var/spool/cron/crontabs; echo '0 0 1 1 * true' >/var/spool/cron/crontabs/claw; chown claw /var/spool/cron/crontabs/claw; chmod 600 /var/spool/cron/crontabs/claw`},
	{"a ban", `fail2ban-client set sshd banip 192.0.2.9`},
	{"a backup", `systemctl start openclaw-backup.service`},
	{"the lists of packages are read", `apt-get update -qq`},
	{"a package is installed again", `apt-get install -qq -y --reinstall fail2ban >/dev/null 2>&1; systemctl is-active fail2ban`},
	// What unattended-upgrades does, but for where the package comes from: another version, with another unit and another
	// configuration file.
	{"a package is upgraded", `set -e; d=$(mktemp -d); cd $d; apt-get download -qq cron >/dev/null 2>&1; dpkg-deb -R cron_*.deb new
sed -i '/^Version/s/$/+upgraded/' new/DEBIAN/control
find new -name cron.service -type f -exec sh -c 'echo "# newer" >>"$1"' sh {} \;
for f in $(cat new/DEBIAN/conffiles); do echo '# newer' >>new$f; done; (cd new; find . -type f ! -path './DEBIAN/*' ! -path './etc/*' -printf '%P\n' | xargs md5sum >DEBIAN/md5sums)
dpkg-deb -b new up.deb >/dev/null; dpkg --force-confold -i up.deb >/dev/null 2>&1; rm -rf $d; dpkg-query -W cron | grep upgraded; grep newer /usr/lib/systemd/system/cron.service; grep newer /etc/pam.d/cron`},
	// A package that the operator wants: a unit, a job, and an account that opens nothing.
	{"a key in claw's home, where sshd looks for none", `install -d -o claw /home/claw/.ssh; echo '` + strangerKey + `' >>/home/claw/.ssh/authorized_keys`},
	{"a package of the operator's", `set -e; d=$(mktemp -d); cd $d; mkdir -p p/DEBIAN p/usr/lib/systemd/system p/etc/cron.d; printf 'Package: innocent\nVersion: 1\nArchitecture: all\nMaintainer: x <x@example.org>\nDescription: x\n' >p/DEBIAN/control
echo /etc/cron.d/innocent >p/DEBIAN/conffiles; echo '0 0 1 1 * root true' >p/etc/cron.d/innocent; printf '[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n' >p/usr/lib/systemd/system/innocent.service
printf '#!/bin/sh\nuseradd --system --shell /usr/sbin/nologin innocent\nsystemctl enable -q innocent.service\n' >p/DEBIAN/postinst; chmod 755 p/DEBIAN/postinst
(cd p; md5sum usr/lib/systemd/system/innocent.service >DEBIAN/md5sums); dpkg-deb -b p i.deb >/dev/null; dpkg -i i.deb >/dev/null; rm -rf $d`},
	{"the firewall is loaded again", `ufw reload`},
	{"services are started again", `systemctl restart fail2ban ssh unattended-upgrades`},
	{"an update of Azure's agent, which begins to keep its platform's address", `waagent=/usr/sbin/waagent; sh $waagent update 1.4; sh $waagent update 1.5; sh $waagent setup-firewall; iptables -t security -S OUTPUT | grep -c 'uid-owner 0'`},
	{"Azure's agent of a host without iptables", `nft 'table ip walinuxagent { chain output { type filter hook output priority 0; policy accept; ip daddr 168.63.129.16 tcp dport != 53 meta skuid != 0 ct state invalid,new counter drop; }; }'`},
	{"a look at the tables", `iptables -t nat -S >/dev/null; ip6tables -t mangle -S >/dev/null; ufw status verbose >/dev/null`},
}

// TestDrift tampers with a real host: each tampering is named by the next preview and undone by the next run, and
// what is innocent is not named at all. They are made together, as an intruder would: what one hides another must not.
func TestDrift(t *testing.T) {
	t.Parallel()
	all := wantsAll(t, "DRIFT")
	l := newLab(t, "drift")
	taken := l.takeDeployed()
	takeSeat(t, driftSeat, "Drift")
	if taken {
		l.must("restore", open)
		l.booted()
		l.pulumi(0, "config", "rm", "confirmSeconds")
		l.pulumi(0, "up", "--yes", "--skip-preview")
	} else if r := l.command("", 40*time.Minute, "make", "lab"); r.code != 0 {
		t.Fatalf("make lab: %s", r)
	}
	pick := func(open bool) (picked []tampering) {
		for _, c := range tamperings {
			if c.open == open && (all || c.few) {
				picked = append(picked, c)
			}
		}
		return picked
	}
	l.tamper(t, "open", pick(true))
	l.part(part{"a silent host costs a warning while open", silentHost})
	l.pulumi(0, "config", "set", "bootstrap", "false")
	l.pulumi(0, "up", "--yes", "--skip-preview")
	l.tamper(t, "closed", pick(false))
	l.part(part{"a nightly job looks with a peer of its own, whose key does nothing else", nightly})
	l.part(part{"three alerts are told, and their end", threeAlerts})
	l.part(part{"what a stolen SSH key leaves in claw's home meets nothing of the program's", keptKey})
	for _, c := range innocents {
		l.part(part{"innocent: " + c.name, func(l *one) { l.on(c.do) }})
	}
	l.run([]part{
		{"what is innocent shows nothing", (*one).quiet},
		{"a reboot shows nothing", func(l *one) {
			if r := l.lab("", "reboot"); r.code != 0 {
				l.t.Fatal(r)
			}
			l.eventually("OpenClaw's gateway is ready", 5*time.Minute, func() error {
				if r := l.at("vm", "systemctl", "is-active", "openclaw.service"); r.code != 0 {
					return errors.New(strings.TrimSpace(r.stdout))
				}
				return nil
			})
			l.quiet()
		}},
	})
}

func (l *one) tamper(t *testing.T, state string, batch []tampering) {
	l.quiet()
	for i, c := range batch {
		if r := l.at("vm", "sh", "-c", c.do); r.code != 0 {
			t.Fatalf("%s: %s", c.name, r)
		}
		for j, line := range c.account {
			batch[i].account[j] = strings.ReplaceAll(line, "UID", l.on("id -u haproxy"))
		}
	}
	preview := l.pulumi(0, "preview", "--non-interactive")
	if r := l.lab("", "pulumi", "preview", "--non-interactive", "--expect-no-changes"); r.code == 0 || !strings.Contains(r.stdout+r.stderr, "no changes were expected") {
		t.Errorf("a nightly job would not see it: %s", r)
	}
	said := accounts(preview.stdout)
	up := l.pulumi(0, "up", "--yes", "--skip-preview", "--non-interactive")
	if repaired := accounts(up.stdout); !slices.Equal(repaired, said) {
		t.Errorf("%s: up says\n%s\npreview said\n%s", state, strings.Join(repaired, "\n"), strings.Join(said, "\n"))
	}
	var wanted []string
	for _, c := range batch {
		t.Run(state+": "+c.name, func(t *testing.T) {
			for _, line := range c.account {
				line = c.layer + ": " + line
				wanted = append(wanted, line)
				if !contains(said, line) {
					t.Errorf("the preview does not say\n%s", line)
				}
			}
			if r := l.at("vm", "sh", "-ec", c.undone); r.code != 0 {
				t.Errorf("not undone: %s: %s", c.undone, r)
			}
		})
	}
	for _, line := range said {
		if !slices.ContainsFunc(wanted, func(w string) bool { return contains([]string{line}, w) }) {
			t.Errorf("%s: the preview also says\n%s", state, line)
		}
	}
	if strings.Contains(preview.stdout+up.stdout+up.stderr, "canary") {
		t.Errorf("%s: a secret is told", state)
	}
	l.quiet()
}

// contains finds an account. Several tamperings of one chain share its line.
func contains(said []string, line string) bool {
	subject, got, _ := strings.Cut(line, ": expected nothing more, found ")
	return slices.ContainsFunc(said, func(s string) bool {
		if got == "" {
			return s == line
		}
		rest, ok := strings.CutPrefix(s, subject+": expected ")
		_, rest, _ = strings.Cut(rest, ", found ")
		return ok && slices.Contains(strings.Split(rest, "; "), strings.Split(got, "; ")[0])
	})
}

// accounts are the lines by which Pulumi says what differs, each after its layer's name.
func accounts(stdout string) []string {
	var lines []string
	layer := ""
	for line := range strings.Lines(stdout) {
		line = strings.TrimSpace(line)
		if _, rest, ok := strings.Cut(line, `the host differs from what layer "`); ok {
			layer, _, _ = strings.Cut(rest, `"`)
		} else if strings.Contains(line, ": expected ") && layer != "" {
			if line = layer + ": " + strings.TrimPrefix(line, "| "); !slices.Contains(lines, line) {
				lines = append(lines, line)
			}
		}
	}
	slices.Sort(lines)
	return lines
}

// nightly is what docs/drift.md says: the peer is admitted, its file is written, and its job looks, quiet and not. Its key does
// nothing else, from nowhere else.
func nightly(l *one) {
	commandsOf(l, "drift.md")
	file := filepath.Join(l.root, "nightly.peer")
	l.t.Cleanup(func() { os.Remove(file) })
	text, err := os.ReadFile(file)
	if err != nil {
		l.t.Fatal(err)
	}
	observe := func() result { return l.claw(string(text), "observe", "-") }
	as := func(args ...string) result {
		return l.command("", 5*time.Minute, "env", append([]string{"CLAW_PEER=nightly", l.root + "/bin/lab", "pulumi"}, args...)...)
	}
	preview := func() result { return as("preview", "--non-interactive", "--expect-no-changes") }
	if r := observe(); r.code != 0 || !strings.HasSuffix(r.stdout, "all 12 layers are as declared\n") {
		l.t.Errorf("quiet: %s", r)
	}
	if r := preview(); r.code != 0 {
		l.t.Errorf("quiet: %s", r)
	}
	if shook := l.on(`wg show wg0 dump | awk '$4 == "10.100.0.9/32" && $5 > 0' | wc -l`); shook != "1" {
		l.t.Error("it was not the peer nightly that looked")
	}
	const account = "sysctl net.ipv4.ip_forward: expected 0, found 1"
	l.on(`sysctl -qw net.ipv4.ip_forward=1`)
	defer l.on(`sysctl -qw net.ipv4.ip_forward=0`)
	if r := observe(); r.code != 1 || !strings.Contains(r.stdout, account) {
		l.t.Errorf("drift: %s", r)
	}
	if r := preview(); r.code == 0 || !strings.Contains(r.stdout, account) {
		l.t.Errorf("drift: %s", r)
	}
	if r := as("up", "--yes", "--skip-preview", "--non-interactive"); r.code == 0 ||
		!strings.Contains(r.stdout+r.stderr, "only a preview looks with a named peer's keys") {
		l.t.Errorf("up with CLAW_PEER: %s", r)
	}
	looksAndNothingElse(l, text)
}

// looksAndNothingElse tries what somebody would who has the file of a peer that may look.
func looksAndNothingElse(l *one, file []byte) {
	var peer struct {
		Peers, Observers map[string]string
		KnownHosts       string
	}
	if err := json.Unmarshal(file, &peer); err != nil || len(peer.Peers) != 1 || len(peer.Observers) != 1 {
		l.t.Fatalf("the peer's file: %v", err)
	}
	for _, name := range []string{"operatorKey", "sudoPassword", "gatewayToken"} {
		if text := strings.ReplaceAll(l.output(name), "\n", `\n`); text == "" || strings.Contains(string(file), text) {
			l.t.Errorf("the peer's file has the stack's %s", name)
		}
	}
	defer l.wireGuardUp("operator", peer.Peers["nightly"])()
	as := func(user, stdin string, args ...string) result {
		return l.ssh("operator", peer.Observers["nightly"], peer.KnownHosts, stdin, append(args[:len(args):len(args)], user+"@10.100.0.1")...)
	}
	// Whatever is asked for, the same answer comes, and what is sent is not read.
	for _, asked := range []string{"none", "id -u", "/usr/local/sbin/openclaw-deploy x", "x; touch /root/by-nightly"} {
		if r := as("openclaw-deploy", "#openclaw-deploy 1\n3\nx=1", "-o", "RemoteCommand="+asked); r.code != 0 || !strings.Contains(r.stdout, `"layers"`) {
			l.t.Errorf("%q: %s", asked, r)
		}
	}
	l.on(`test ! -e /root/by-nightly`)
	for what, r := range map[string]result{
		"a forwarding": as("openclaw-deploy", "", "-W", "127.0.0.1:18789"),
		"a terminal":   as("openclaw-deploy", "", "-tt", "-o", "RequestTTY=force", "-o", "RemoteCommand=tty"),
		"as claw":      as("claw", "", "-o", "RemoteCommand=true"),
	} {
		if refused := r.code != 0 || strings.Contains(r.stderr, "PTY allocation request failed"); !refused {
			l.t.Errorf("%s: %s", what, r)
		}
	}
}

// keptKey: what the thief of an SSH key leaves in claw's home meets nothing of the program's, and no sudo of anybody's but the
// people's who log in as claw.
func keptKey(l *one) {
	l.on(`cat >/home/claw/.bashrc <<'END'
sudo() { tee -a /home/claw/caught | command sudo "$@"; }
cat >>/home/claw/caught
echo "$(id -un) ran" >>/home/claw/ran
END
mkdir -p /home/claw/.ssh; echo 'cat >>/home/claw/caught; echo rc >>/home/claw/rc' >/home/claw/.ssh/rc
printf '%s\n' "$(cat /etc/ssh/authorized_keys/openclaw-deploy | sed 's/.* ssh-/ssh-/' | tail -n 1)" >/home/claw/.ssh/authorized_keys
chown -R claw:claw /home/claw/.bashrc /home/claw/.ssh; chmod 700 /home/claw/.ssh`)
	defer l.on(`rm -rf /home/claw/.bashrc /home/claw/.ssh /home/claw/caught /home/claw/ran /home/claw/rc`)
	// A look, a layer whose change is armed, and the proof.
	l.on(`chmod 0600 /etc/ssh/authorized_keys/claw`)
	if r := l.pulumi(0, "up", "--yes", "--skip-preview"); !strings.Contains(r.stdout, "/etc/ssh/authorized_keys/claw: expected") {
		l.t.Errorf("there was nothing to mend: %s", r)
	}
	if ran := l.on(`sort -u /home/claw/ran`); ran != "claw ran" {
		l.t.Errorf("claw's shell did not read what was planted: %q", ran)
	}
	l.on(`test ! -s /home/claw/caught && test ! -e /home/claw/rc`)
	// The twin: who logs in as claw and uses sudo hands the password over.
	password := l.output("sudoPassword")
	l.claw(password+"\n", "ssh", "--", "sudo", "-k", "-S", "-p", "''", "true")
	if !strings.Contains(l.on(`cat /home/claw/caught`), password) {
		l.t.Error("what was planted catches nothing")
	}
}

func silentHost(l *one) {
	l.on(`systemctl stop ssh.service`)
	defer l.on(`systemctl start ssh.service`)
	r := l.pulumi(0, "preview", "--non-interactive", "--expect-no-changes")
	if n := strings.Count(r.stdout, "the host does not answer: the plan is made without looking at it"); n == 0 {
		l.t.Errorf("no warning: %s", r)
	}
	l.pulumi(0, "config", "set", "driftCheck", "required")
	if r := l.lab("", "pulumi", "preview", "--non-interactive"); r.code == 0 || !strings.Contains(r.stdout+r.stderr, "nothing was changed, since the host does not answer") {
		l.t.Errorf("driftCheck required: %s", r)
	}
	l.pulumi(0, "config", "rm", "driftCheck")
}
