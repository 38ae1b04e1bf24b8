// Package installtest runs the installer of OpenClaw, templates/usr/local/sbin/openclaw-install, in folders of its own
// against servers on loopback.
//
// Not real there: systemd, npm and the gateway. Commands of those names stand for them, which record what they are asked
// and do what a test tells them. The lab's scenario shows the real ones.
package installtest
