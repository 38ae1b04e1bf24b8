// Package internet is what a lab has in place of the Internet: the platform's name service, and servers at two addresses
// that say who asked them, by what name and from where. It knows a handful of names and leads nowhere else.
package internet

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	"openclaw-azure/lab/internal/place"
)

// Folder is the one of a lab's Internet in the lab's own.
const Folder = "internet"

// Files in it.
const (
	NamesFile       = "names"       // what the name service knows; may be changed at any time
	QuestionsFile   = "questions"   // what it was asked, a line each: name, type
	ConnectionsFile = "connections" // what the servers accepted, a line each: the address it came to, where it came from
	AuthorityFile   = "ca.pem"      // nobody trusts it until it is installed
	authorityKey    = "ca.key"
)

// Config says where a lab's Internet is.
type Config struct {
	Folder string // its own, made where it is missing
	Log    *log.Logger
	// Listen and ListenPacket open what it serves; the address is one of package place's, with a port.
	Listen       func(address string) (net.Listener, error)
	ListenPacket func(address string) (net.PacketConn, error)
}

// Internet is a lab's, with all its listeners open.
type Internet struct {
	folder      string
	log         *log.Logger
	questions   notes
	connections notes
	closing     chan struct{}
	services    []service
	// Every connection is known, so that Serve leaves none behind: a web server forgets its websockets.
	mu   sync.Mutex
	open map[*conn]bool
}

// service is something that is served until its listener is closed.
type service struct {
	name  string
	serve func() error
	close func() error
}

// New makes the folder and opens all listeners. Serve answers at them.
func New(config Config) (_ *Internet, err error) {
	if err := os.MkdirAll(config.Folder, 0o700); err != nil {
		return nil, err
	}
	path := func(name string) string { return filepath.Join(config.Folder, name) }
	if err := makeNames(path(NamesFile)); err != nil {
		return nil, err
	}
	certificate, err := certificate(path(AuthorityFile), path(authorityKey))
	if err != nil {
		return nil, err
	}
	i := &Internet{
		folder: config.Folder, log: config.Log, closing: make(chan struct{}), open: map[*conn]bool{},
		questions: notes{path(QuestionsFile)}, connections: notes{path(ConnectionsFile)},
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, i.close())
		}
	}()
	at := func(address string, port int) string { return net.JoinHostPort(address, strconv.Itoa(port)) }

	packets, err := config.ListenPacket(at(place.PlatformAddress, place.NamePort))
	if err != nil {
		return nil, err
	}
	i.add("names by UDP", packets.Close, func() error { return i.answerPackets(packets) })
	streams, err := config.Listen(at(place.PlatformAddress, place.NamePort))
	if err != nil {
		return nil, err
	}
	i.add("names by TCP", streams.Close, func() error { return accept(watched{streams, i, false}, i.answerStream) })

	// Clients that trust nobody of ours break off all the time: that is no news.
	quiet := log.New(io.Discard, "", 0)
	secure := &tls.Config{Certificates: []tls.Certificate{certificate}}
	// Two servers: one that serves both with and without TLS has HTTP/2 only if it began with TLS.
	alerts := newReceivers(config.Folder)
	plainWeb := &http.Server{Handler: origin(config.Folder, alerts), ErrorLog: quiet}
	secureWeb := &http.Server{Handler: origin(config.Folder, alerts), ErrorLog: quiet, TLSConfig: secure.Clone()}
	i.add("HTTP", plainWeb.Close, nil)
	i.add("HTTPS", secureWeb.Close, nil)
	for _, address := range []string{place.OriginAddress, place.ElsewhereAddress} {
		for _, port := range ports {
			listener, err := config.Listen(at(address, port.number))
			if err != nil {
				return nil, err
			}
			listener = watched{listener, i, true}
			serve := func() error { return plainWeb.Serve(listener) }
			switch {
			case port.greeting == "" && port.secure:
				serve = func() error { return secureWeb.ServeTLS(listener, "", "") }
			case port.greeting != "":
				if port.secure {
					listener = tls.NewListener(listener, secure)
				}
				serve = func() error { return accept(listener, greet(port.greeting)) }
			}
			i.add(at(address, port.number), listener.Close, serve)
		}
	}
	for port, implicit := range map[int]bool{465: true, 587: false} {
		listener, err := config.Listen(at(place.OriginAddress, port))
		if err != nil {
			return nil, err
		}
		listener = watched{listener, i, true}
		i.add(at(place.OriginAddress, port), listener.Close, func() error { return accept(listener, alerts.post(secure, implicit)) })
	}
	i.add("the check's alarm", func() error { alerts.stop(); return nil }, nil)
	return i, nil
}

// ports are what both addresses serve: web servers, and where there is a greeting, servers that speak first.
var ports = []struct {
	number   int
	secure   bool
	greeting string
}{
	{443, true, ""},
	{8443, true, ""},
	{80, false, ""},
	{8000, false, ""},
	{993, true, "* OK IMAP4rev1"},
	{143, false, "* OK IMAP4rev1"},
	{22, false, "SSH-2.0-lab"},
}

func (i *Internet) add(name string, close, serve func() error) {
	i.services = append(i.services, service{name, serve, close})
}

// Serve answers until the context ends, or a listener fails.
func (i *Internet) Serve(ctx context.Context) error {
	failed := make(chan error, len(i.services))
	var all sync.WaitGroup
	for _, s := range i.services {
		if s.serve == nil {
			continue
		}
		all.Go(func() {
			err := s.serve()
			select {
			case <-i.closing:
			default:
				failed <- fmt.Errorf("the lab's Internet, %s: %w", s.name, err)
			}
		})
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	err = errors.Join(err, i.close())
	all.Wait()
	return err
}

func (i *Internet) close() error {
	close(i.closing)
	var errs []error
	for _, s := range i.services {
		if err := s.close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	i.mu.Lock()
	open := slices.Collect(maps.Keys(i.open))
	i.mu.Unlock()
	for _, c := range open {
		c.Close()
	}
	return errors.Join(errs...)
}

// accept serves each connection by itself.
func accept(listener net.Listener, serve func(net.Conn)) error {
	var all sync.WaitGroup
	defer all.Wait()
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		all.Go(func() {
			defer conn.Close()
			serve(conn)
		})
	}
}

// watched is a listener whose connections the Internet knows. Where it notes them, it does before anything is said: who got
// an answer finds it in the file.
type watched struct {
	net.Listener
	internet *Internet
	notes    bool
}

func (w watched) Accept() (net.Conn, error) {
	accepted, err := w.Listener.Accept()
	if err != nil {
		return nil, err
	}
	i := w.internet
	if w.notes {
		i.note(i.connections, accepted.LocalAddr().String()+" "+accepted.RemoteAddr().String())
	}
	c := &conn{accepted, i}
	i.mu.Lock()
	defer i.mu.Unlock()
	select {
	case <-i.closing:
		accepted.Close()
		return nil, net.ErrClosed
	default:
		i.open[c] = true
		return c, nil
	}
}

type conn struct {
	net.Conn
	internet *Internet
}

func (c *conn) Close() error {
	c.internet.mu.Lock()
	delete(c.internet.open, c)
	c.internet.mu.Unlock()
	return c.Conn.Close()
}

// notes is a file to which lines are added. It is opened for each: a test may take it away in between.
type notes struct{ path string }

func (i *Internet) note(to notes, line string) {
	if err := to.add(line); err != nil {
		i.log.Printf("internet: note %q: %v", line, err)
	}
}

func (n notes) add(line string) error {
	file, err := os.OpenFile(n.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	// One short write at the file's end: lines do not mix.
	_, err = file.WriteString(line + "\n")
	return errors.Join(err, file.Close())
}
