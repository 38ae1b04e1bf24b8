package command

import (
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
)

// sshd is an SSH server on loopback that runs what it is asked to run.
type sshd struct {
	t         *testing.T
	listener  net.Listener
	hostKey   string // as in authorized_keys
	clientKey string // private, PEM
	acceptEnv []string

	mu     sync.Mutex
	dials  int
	refuse int // so many connections are closed at once
	open   map[net.Conn]bool
}

func newSSHD(t *testing.T, acceptEnv ...string) *sshd {
	t.Helper()
	host, _ := newKey(t)
	client, private := newKey(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &sshd{t: t, listener: listener, hostKey: string(ssh.MarshalAuthorizedKey(host.PublicKey())), clientKey: private,
		acceptEnv: acceptEnv, open: map[net.Conn]bool{}}
	config := &ssh.ServerConfig{
		PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if string(key.Marshal()) == string(client.PublicKey().Marshal()) {
				return nil, nil
			}
			return nil, errors.New("a key that nobody knows")
		},
		PasswordCallback: func(_ ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
			if string(password) == "correct horse" {
				return nil, nil
			}
			return nil, errors.New("a wrong password")
		},
	}
	config.AddHostKey(host)
	var served sync.WaitGroup
	served.Add(1)
	go func() {
		defer served.Done()
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.dials++
			refuse := s.refuse > 0
			if refuse {
				s.refuse--
			} else {
				s.open[conn] = true
			}
			s.mu.Unlock()
			if refuse {
				conn.Close()
				continue
			}
			served.Add(1)
			go func() {
				defer served.Done()
				s.serve(conn, config)
				s.mu.Lock()
				delete(s.open, conn)
				s.mu.Unlock()
			}()
		}
	}()
	t.Cleanup(func() {
		listener.Close()
		s.mu.Lock()
		for conn := range s.open {
			conn.Close()
		}
		s.mu.Unlock()
		served.Wait()
	})
	return s
}

func newKey(t *testing.T) (ssh.Signer, string) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	return signer, string(pem.EncodeToMemory(block))
}

func (s *sshd) port() int { return s.listener.Addr().(*net.TCPAddr).Port }

func (s *sshd) dialled() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dials
}

// refuseNext makes the next n connections end at once.
func (s *sshd) refuseNext(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = n
}

func (s *sshd) connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}

func (s *sshd) serve(conn net.Conn, config *ssh.ServerConfig) {
	defer conn.Close()
	_, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for channel := range channels {
		if channel.ChannelType() != "session" {
			_ = channel.Reject(ssh.UnknownChannelType, "sessions only")
			continue
		}
		session, requests, err := channel.Accept()
		if err != nil {
			return
		}
		go s.session(session, requests)
	}
}

func (s *sshd) session(session ssh.Channel, requests <-chan *ssh.Request) {
	defer session.Close()
	var env []string
	for request := range requests {
		switch request.Type {
		case "env":
			var variable struct{ Name, Value string }
			_ = ssh.Unmarshal(request.Payload, &variable)
			accepted := slices.Contains(s.acceptEnv, variable.Name)
			if accepted {
				env = append(env, variable.Name+"="+variable.Value)
			}
			_ = request.Reply(accepted, nil)
		case "exec":
			var command struct{ Text string }
			_ = ssh.Unmarshal(request.Payload, &command)
			_ = request.Reply(true, nil)
			go func() {
				_, _ = session.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{s.run(session, command.Text, env)}))
				session.Close()
			}()
		default:
			_ = request.Reply(false, nil)
		}
	}
}

func (s *sshd) run(session ssh.Channel, text string, env []string) uint32 {
	cmd := exec.Command("/bin/sh", "-c", text)
	cmd.Env = append(os.Environ(), env...)
	// A pipe, so that a command which does not read its input does not keep the server waiting for the client's end.
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return 255
	}
	go func() {
		_, _ = io.Copy(stdin, session)
		stdin.Close()
	}()
	cmd.Stdout, cmd.Stderr = session, session.Stderr()
	err = cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return uint32(exit.ExitCode())
	}
	if err != nil {
		return 255
	}
	return 0
}
