// Package applytest runs the applier, templates/usr/local/lib/openclaw-deploy/apply.py, in private roots: overlays over
// this machine's own root, in namespaces of their own, so that it works on real files, accounts and packages and
// leaves nothing behind. openclaw-backup and openclaw-restore, which need such roots too, are tried in them as well.
//
// Two things are not real there. There is no systemd: a systemctl that records its calls and remembers states stands
// for it, so no timer fires by itself and no unit runs. And no sshd: a process that has sshd's name and hands
// SSH_CONNECTION down stands for a connection. The lab's scenarios show both for real.
package applytest
