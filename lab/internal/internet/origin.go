package internet

import (
	"archive/zip"
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/net/websocket"
)

const (
	// eventGap lies between two server-sent events: long enough to see whether something on the way gathers them.
	eventGap = 400 * time.Millisecond
	events   = 5
	// largestBig is the most that /big gives, in MiB.
	largestBig = 1024
)

// origin is the handler of every web server.
func origin(folder string, alerts *receivers) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "origin", seen(r)) })
	mux.HandleFunc("GET /big/{mebibytes}", sendBig)
	mux.HandleFunc("POST /upload", upload)
	mux.HandleFunc("PUT /upload", upload)
	mux.HandleFunc("/sse", sendEvents)
	mux.HandleFunc("/ws", spoken(echo))
	// As much of a repository as git asks for where it lists branches.
	mux.HandleFunc("GET /repository.git/info/refs", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "%040d\trefs/heads/main\n", 1)
	})
	mux.HandleFunc("GET /repository.git/HEAD", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ref: refs/heads/main") })
	// As much of a package index as pip asks for.
	mux.HandleFunc("GET /simple/thing/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<!DOCTYPE html><a href="/%[1]s">%[1]s</a>`, wheelName)
	})
	mux.HandleFunc("GET /"+wheelName, wheel)
	addChannels(mux, folder)
	addModels(mux, folder)
	alerts.add(mux)
	return mux
}

// seen says what arrived, a word each, quoted where the client chose it freely.
func seen(r *http.Request) string {
	name := ""
	if r.TLS != nil {
		name = r.TLS.ServerName
	}
	return fmt.Sprintf("host=%q sni=%q proto=%s from=%s at=%s method=%s path=%q x-api-key=%q authorization=%q",
		r.Host, name, r.Proto, r.RemoteAddr, r.Context().Value(http.LocalAddrContextKey), r.Method, r.URL.Path,
		r.Header.Get("X-Api-Key"), r.Header.Get("Authorization"))
}

func sendBig(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(r.PathValue("mebibytes"))
	if err != nil || n < 0 || n > largestBig {
		http.Error(w, fmt.Sprintf("%q: expected a number of MiB from 0 to %d", r.PathValue("mebibytes"), largestBig), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.Itoa(n<<20))
	zeros := make([]byte, 1<<20)
	for range n {
		if _, err := w.Write(zeros); err != nil {
			return
		}
	}
}

func upload(w http.ResponseWriter, r *http.Request) {
	n, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		http.Error(w, fmt.Sprintf("got %d bytes, then: %v", n, err), http.StatusBadRequest)
		return
	}
	fmt.Fprintf(w, "got %d bytes\n", n)
}

const wheelName = "thing-1.0-py3-none-any.whl"

// wheel gives a package for Python that holds nothing: https://packaging.python.org/specifications/binary-distribution-format.
func wheel(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/zip")
	archive := zip.NewWriter(w)
	for name, text := range map[string]string{
		"METADATA": "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n",
		"WHEEL":    "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
		"RECORD":   "",
	} {
		file, err := archive.Create("thing-1.0.dist-info/" + name)
		if err != nil {
			return
		}
		if _, err := io.WriteString(file, text); err != nil {
			return
		}
	}
	_ = archive.Close() // whoever has gone gets no end of it
}

func sendEvents(w http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	controller := http.NewResponseController(w)
	for n := range events {
		if n > 0 {
			select {
			case <-time.After(eventGap):
			case <-r.Context().Done():
				return
			}
		}
		fmt.Fprintf(w, "data: %d %s\n\n", n, seen(r))
		if controller.Flush() != nil {
			return
		}
	}
}

// spoken serves a websocket. Without a Handshake it takes clients that send no Origin, as all but browsers do.
func spoken(speak func(*websocket.Conn)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 1 {
			http.Error(w, "a websocket takes HTTP/1.1", http.StatusHTTPVersionNotSupported)
			return
		}
		websocket.Server{Handler: speak}.ServeHTTP(w, r)
	}
}

// echo says again what it is told.
func echo(conn *websocket.Conn) {
	var m message
	for messages.Receive(conn, &m) == nil && messages.Send(conn, m) == nil {
	}
}

// message is one of a websocket's, with its kind: text or binary.
type message struct {
	kind byte
	data []byte
}

var messages = websocket.Codec{
	Marshal: func(v any) ([]byte, byte, error) {
		m := v.(message)
		return m.data, m.kind, nil
	},
	Unmarshal: func(data []byte, kind byte, v any) error {
		*v.(*message) = message{kind, data}
		return nil
	},
}

// greet is a server that speaks first, as IMAP's and SSH's do, and then says again what it is told.
func greet(greeting string) func(net.Conn) {
	return func(conn net.Conn) {
		if _, err := fmt.Fprintf(conn, "%s from=%s at=%s\r\n", greeting, conn.RemoteAddr(), conn.LocalAddr()); err != nil {
			return
		}
		for lines := bufio.NewScanner(conn); lines.Scan(); {
			if _, err := fmt.Fprintf(conn, "echo %s\r\n", lines.Text()); err != nil {
				return
			}
		}
	}
}
