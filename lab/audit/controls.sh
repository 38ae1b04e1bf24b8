#!/bin/sh
# Checks, on the host and as root, the controls of dev-sec's ssh-baseline 2.8.1 (01 to 50, there is no 26) against what
# is effective for claw on 2222. `make audit` runs it. A control that the design contradicts is waived with its reason; one
# that is waived and holds all the same is a fault too.
set -eu

failed=0
held=0
waived=0
effective=$(sshd -T -C user=claw,host=x,addr=10.100.0.254,lport=2222)
text=$(cat /etc/ssh/sshd_config.d/00-openclaw.conf)

# setting KEYWORD: what is effective, as sshd prints it; what sshd does not print, as the drop-in has it.
setting() {
	value=$(echo "$effective" | sed -n "s/^$(echo "$1" | tr '[:upper:]' '[:lower:]') //p" | tr '\n' ' ' | sed 's/ $//')
	[ -n "$value" ] || value=$(echo "$text" | sed -n "s/^$1 //p")
	echo "${value:-absent}"
}

# is NUMBER WHAT WANT GOT [REASON]
is() {
	if [ "$3" = "$4" ] && [ -z "${5:-}" ]; then
		held=$((held + 1))
	elif [ "$3" != "$4" ] && [ -n "${5:-}" ]; then
		waived=$((waived + 1))
		echo "waived  $1 $2: the baseline wants $3, here is $4: $5"
	else
		failed=$((failed + 1))
		echo "FAILED  $1 $2: the baseline wants $3, here is $4${5:+, and it is waived: $5}"
	fi
}

# keyword NUMBER KEYWORD WANT [REASON]
keyword() { is "$1" "$2" "$3" "$(setting "$2")" "${4:-}"; }

# without NUMBER KEYWORD: not to be set at all.
without() { is "$1" "$2" absent "$(setting "$2")"; }

modern="modern algorithms only"
keyword 01 Ciphers chacha20-poly1305@openssh.com,aes256-gcm@openssh.com,aes128-gcm@openssh.com,aes256-ctr,aes192-ctr,aes128-ctr
is 02 KexAlgorithms 'a DH group exchange' "$(echo "$effective" | grep -q 'group-exchange' && echo 'a DH group exchange' || echo none)" "$modern"
is 03 MACs 'one without ETM' "$(echo "$effective" | sed -n 's/^macs //p' | tr , '\n' | grep -q -v etm && echo 'one without ETM' || echo none)" "$modern"
is 04 /etc/ssh 'root 755' "$(stat -c '%U %a' /etc/ssh)"
is 05 /etc/ssh/sshd_config 'root 600' "$(stat -c '%U %a' /etc/ssh/sshd_config)" "the package's file, without a secret; ours, which wins, is 600"
keyword 06 PermitRootLogin no
keyword 07 Port 22 "22 is the bootstrap door's, and closed"
keyword 08 AddressFamily inet
is 09 ListenAddress set "$([ "$(setting ListenAddress)" = absent ] && echo absent || echo set)"
without 10 Protocol
keyword 11 StrictModes yes
keyword 12 SyslogFacility AUTH
keyword 13 LogLevel VERBOSE
is 14 HostKey 'rsa, ecdsa and ed25519' "$(setting HostKey)" "one key, which the program made and pins"
without 15 UseLogin
without 16 UsePrivilegeSeparation
keyword 17 PermitUserEnvironment no
keyword 18 LoginGraceTime 30
keyword 19 MaxAuthTries 2 "three tries, as fail2ban counts"
keyword 20 MaxSessions 10
keyword 21 MaxStartups 10:30:60
keyword 22 PubkeyAuthentication yes
keyword 23 IgnoreRhosts yes
keyword 24 IgnoreUserKnownHosts yes
keyword 25 HostbasedAuthentication no
keyword 27 PasswordAuthentication no
keyword 28 PermitEmptyPasswords no
is 29 ChallengeResponseAuthentication no "$(setting KbdInteractiveAuthentication)"
keyword 30 KerberosAuthentication no
keyword 31 KerberosOrLocalPasswd no
keyword 32 KerberosTicketCleanup yes
keyword 33 GSSAPIAuthentication no
keyword 34 GSSAPICleanupCredentials yes
keyword 35 TCPKeepAlive no
keyword 36 ClientAliveInterval 300
keyword 37 ClientAliveCountMax 3
keyword 38 PermitTunnel no
keyword 39 AllowTcpForwarding no "local, to the gateway's port alone (PermitOpen): the operator's way to it"
keyword 40 AllowAgentForwarding no
keyword 41 GatewayPorts no
keyword 42 X11Forwarding no
keyword 43 X11UseLocalhost yes
keyword 44 PrintMotd no
keyword 45 PrintLastLog no "Lynis wants yes: an operator sees a login that was not theirs"
keyword 46 Banner none
keyword 47 DebianBanner no
is 48 /etc/ssh/moduli 'none below 2047 bits' "$(awk '$5 < 2047 && !/^#/ { n++ } END { print n ? n " below 2047 bits" : "none below 2047 bits" }' /etc/ssh/moduli)"
is 49 'algorithms on the command line' none "$(tr '\0' ' ' <"/proc/$(systemctl show ssh.service -p MainPID --value)/cmdline" | grep -q -E -e '-o *(Ciphers|MACs|Kex)' && echo some || echo none)"
is 50 'RSA host key' 'absent or 4096 bits' "$(f=/etc/ssh/ssh_host_rsa_key.pub; if ! [ -e $f ] || [ "$(ssh-keygen -lf $f | cut -d' ' -f1)" -ge 4096 ]; then echo 'absent or 4096 bits'; else echo "$(ssh-keygen -lf $f | cut -d' ' -f1) bits"; fi)" "cloud-init makes it beside ours, and sshd offers it to nobody"

echo "ssh-baseline: $held hold, $waived waived, $failed failed"
[ "$failed" -eq 0 ]
