# Tries what the agent must not be able to do, and says of each whether it could. The same text runs as the agent, in a
# turn, and as root, its twin: what root cannot do either would prove nothing.
t() {
	name=$1
	shift
	if timeout 10 "$@" >/dev/null 2>&1 </dev/null; then echo "$name: yes"; else echo "$name: no"; fi
}
for folder in /opt /etc /home /usr/local/bin /var/spool; do
	t "writes $folder" sh -c "echo >$folder/probe-\$\$ && rm $folder/probe-\$\$"
done
t "changes its own environment file" test -w /etc/openclaw.env
t "reads the operator's home" ls /home/claw/
t "reads the backups" ls /backups/openclaw
t "reads the host key" cat /etc/ssh/ssh_host_openclaw_ed25519_key
t "reads WireGuard's keys" cat /etc/wireguard/wg0.conf
t "reads where its token comes from" cat /etc/openclaw/gateway-token
t "reads the deployment's records" ls /var/lib/openclaw-deploy
t "sees others' processes" test -d /proc/1
t "becomes root by sudo" sudo -n true
t "becomes another user" python3 -c 'import os; os.setuid(0); os.setuid(1)'
t "makes namespaces" unshare -m true
t "mounts" sh -c 'mount -t tmpfs none /mnt && umount /mnt'
t "sends raw packets" python3 -c 'import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)'
t "traces processes" python3 -c 'import ctypes, sys; sys.exit(ctypes.CDLL(None).ptrace(0, 0, 0, 0) != 0)'
t "runs what it wrote" sh -c 'cp /bin/true /var/lib/openclaw/probe && /var/lib/openclaw/probe; code=$?; rm -f /var/lib/openclaw/probe; exit $code'
for folder in /dev/shm /run/openclaw /tmp; do
	t "runs what it wrote to $folder" sh -c "mkdir -p $folder && cp /bin/true $folder/probe-\$\$ && $folder/probe-\$\$; code=\$?; rm -f $folder/probe-\$\$; exit \$code"
done
t "runs a program that has no file" python3 -c 'import os
fd = os.memfd_create("probe")
os.write(fd, open("/bin/true", "rb").read())
os.execve(f"/proc/self/fd/{fd}", ["true"], {})'
t "listens on another port" python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 8099)); s.listen()'
t "reaches the metadata service" curl -s -f -m 6 http://169.254.169.254/
t "reaches the platform" curl -s -f -m 6 http://168.63.129.16/
t "reaches another machine of the VNet" curl -s -f -m 6 http://10.0.0.7/
t "reaches a peer's device" curl -s -f -m 6 http://10.100.0.2:8000/
t "resolves names" getent ahostsv4 www.good.example
t "reaches the Internet" python3 -c 'import socket; socket.create_connection(("198.18.10.10", 443), 8)'
t "runs git, sh and node" sh -c 'git --version && sh -c true && node --version'
