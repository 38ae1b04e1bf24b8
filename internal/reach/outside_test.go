package reach

import (
	"context"
	"net"
	"testing"
)

// A door that is closed, one that only accepts, and the twin that is open.
func TestExpectClosed(t *testing.T) {
	t.Parallel()
	listen := func(greeting string) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				if _, err := conn.Write([]byte(greeting)); err != nil {
					t.Error(err)
				}
				conn.Close()
			}
		}()
		return l.Addr().String()
	}
	refused := listen("")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := l.Addr().String()
	l.Close()
	for what, address := range map[string]string{"nothing listens": gone, "accepted and closed": refused, "another protocol": listen("220 mail\r\n")} {
		if err := expectClosed(context.Background(), address); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	open := listen("SSH-2.0-OpenSSH_10.0\r\n")
	want := "port 22 is to be closed, and sshd answers at " + open + ` with "SSH-2.0-OpenSSH_10.0"` +
		"\nhint: look at what admits it: `az network nsg rule list`, and on the host `ufw status` and `ss -ltn`"
	if err := expectClosed(context.Background(), open); err == nil || err.Error() != want {
		t.Errorf("open: got %v, want %s", err, want)
	}
}
