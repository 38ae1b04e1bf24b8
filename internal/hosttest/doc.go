// Package hosttest tests the programs that run on the host, but the applier: openclaw-backup and openclaw-restore in
// private roots, openclaw-install in folders of its own against servers on loopback, openclaw-budget between two sockets.
//
// Not real there: systemd, npm and the gateway. Commands of those names stand for them, which record what they are asked
// and do what a test tells them. The lab's scenarios show the real ones.
package hosttest
