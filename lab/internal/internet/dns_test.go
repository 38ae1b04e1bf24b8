package internet

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"log"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"openclaw-azure/lab/internal/place"
)

// A name with more addresses than a packet has room for.
var crowd = "crowd.example A" + strings.Repeat(" 198.18.10.10", 50)

func question(name string, kind dnsmessage.Type) dnsmessage.Message {
	return dnsmessage.Message{
		Header: dnsmessage.Header{ID: 4711, RecursionDesired: true},
		Questions: []dnsmessage.Question{
			{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET},
		},
	}
}

func packed(t testing.TB, m dnsmessage.Message) []byte {
	t.Helper()
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func unpacked(t testing.TB, b []byte) (m dnsmessage.Message) {
	t.Helper()
	if err := m.Unpack(b); err != nil {
		t.Fatalf("%x: %v", b, err)
	}
	return m
}

// shown is an answer's records, a line each.
func shown(t testing.TB, m dnsmessage.Message) (lines []string) {
	t.Helper()
	for _, r := range m.Answers {
		if r.Header.TTL != ttl || r.Header.Class != dnsmessage.ClassINET {
			t.Errorf("a record with header %v", r.Header)
		}
		value := ""
		switch body := r.Body.(type) {
		case *dnsmessage.AResource:
			value = net.IP(body.A[:]).String()
		case *dnsmessage.AAAAResource:
			value = net.IP(body.AAAA[:]).String()
		case *dnsmessage.CNAMEResource:
			value = body.CNAME.String()
		}
		lines = append(lines, r.Header.Name.String()+" "+typeName(r.Header.Type)+" "+value)
	}
	return lines
}

func (s started) byUDP(t *testing.T, message []byte) []byte {
	t.Helper()
	conn, err := net.Dial("udp4", s.at["udp 168.63.129.16:53"])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(message); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 65535)
	n, err := conn.Read(buffer)
	if err != nil {
		t.Fatal(err)
	}
	return buffer[:n]
}

// byTCP asks all on one connection.
func (s started) byTCP(t *testing.T, messages ...[]byte) (answers [][]byte) {
	t.Helper()
	conn, err := net.Dial("tcp4", s.tcp(place.PlatformAddress, "53"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for _, message := range messages {
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(message))), message...)); err != nil {
			t.Fatal(err)
		}
	}
	for range messages {
		var length [2]byte
		if _, err := io.ReadFull(conn, length[:]); err != nil {
			t.Fatal(err)
		}
		answer := make([]byte, binary.BigEndian.Uint16(length[:]))
		if _, err := io.ReadFull(conn, answer); err != nil {
			t.Fatal(err)
		}
		answers = append(answers, answer)
	}
	return answers
}

func (s started) addName(t *testing.T, line string) {
	t.Helper()
	if err := (notes{filepath.Join(s.folder, NamesFile)}).add(line); err != nil {
		t.Fatal(err)
	}
}

func TestNamesAreAnswered(t *testing.T) {
	s := start(t)
	s.addName(t, "far.example CNAME alias.good.example")
	s.addName(t, "lost.example CNAME nobody.example")
	for _, test := range []struct {
		name  string
		kind  dnsmessage.Type
		code  dnsmessage.RCode
		lines []string
	}{
		{"www.good.example.", dnsmessage.TypeA, 0, []string{"www.good.example. A 198.18.10.10"}},
		{"multi.good.example.", dnsmessage.TypeA, 0, []string{"multi.good.example. A 198.18.10.10", "multi.good.example. A 198.18.10.20"}},
		{"v6only.good.example.", dnsmessage.TypeAAAA, 0, []string{"v6only.good.example. AAAA 2001:db8::10"}},
		{"WWW.good.EXAMPLE.", dnsmessage.TypeA, 0, []string{"WWW.good.EXAMPLE. A 198.18.10.10"}},
		{"alias.good.example.", dnsmessage.TypeA, 0, []string{"alias.good.example. CNAME www.good.example.", "www.good.example. A 198.18.10.10"}},
		{"far.example.", dnsmessage.TypeA, 0, []string{
			"far.example. CNAME alias.good.example.", "alias.good.example. CNAME www.good.example.", "www.good.example. A 198.18.10.10",
		}},
		{"far.example.", dnsmessage.TypeCNAME, 0, []string{"far.example. CNAME alias.good.example."}},
		{"alias.good.example.", dnsmessage.TypeAAAA, 0, []string{"alias.good.example. CNAME www.good.example."}},
		{"lost.example.", dnsmessage.TypeA, dnsmessage.RCodeNameError, []string{"lost.example. CNAME nobody.example."}},
		{"nobody.example.", dnsmessage.TypeA, dnsmessage.RCodeNameError, nil},
		{"openclaw.lab.", dnsmessage.TypeA, dnsmessage.RCodeNameError, nil},
		{"openclaw.internal.cloudapp.net.", dnsmessage.TypeA, dnsmessage.RCodeNameError, nil},
		{"www.good.example.", dnsmessage.TypeAAAA, 0, nil},
		{"v6only.good.example.", dnsmessage.TypeA, 0, nil},
		{"www.good.example.", dnsmessage.TypeHTTPS, 0, nil},
		{"www.good.example.", dnsmessage.Type(257), 0, nil},
	} {
		t.Run(test.name+" "+typeName(test.kind), func(t *testing.T) {
			asked := packed(t, question(test.name, test.kind))
			for by, answer := range map[string][]byte{"UDP": s.byUDP(t, asked), "TCP": s.byTCP(t, asked)[0]} {
				m := unpacked(t, answer)
				if m.ID != 4711 || !m.Response || !m.RecursionDesired || !m.RecursionAvailable || m.Truncated || m.RCode != test.code {
					t.Errorf("by %s: %s, want code %v", by, m.GoString(), test.code)
				}
				if lines := shown(t, m); !slices.Equal(lines, test.lines) {
					t.Errorf("by %s: got %q, want %q", by, lines, test.lines)
				}
			}
		})
	}
}

func TestRealResolverUnderstandsIt(t *testing.T) {
	s := start(t)
	s.addName(t, crowd)
	// It asks with EDNS, and again by TCP where an answer is cut.
	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, s.at[network+" 168.63.129.16:53"])
	}}
	for name, want := range map[string]int{"alias.good.example.": 1, "multi.good.example.": 2, "crowd.example.": 50} {
		addresses, err := resolver.LookupNetIP(t.Context(), "ip4", name)
		if err != nil || len(addresses) != want {
			t.Errorf("%s: %v, %v, want %d", name, addresses, err, want)
		}
	}
	if _, err := resolver.LookupNetIP(t.Context(), "ip4", "nobody.example."); err == nil || !strings.HasSuffix(err.Error(), "no such host") {
		t.Errorf("a name that is not there: %v", err)
	}
}

func TestNamesMayBeAddedAtAnyTime(t *testing.T) {
	s := start(t)
	asked := packed(t, question("new.example.", dnsmessage.TypeA))
	if m := unpacked(t, s.byUDP(t, asked)); m.RCode != dnsmessage.RCodeNameError {
		t.Errorf("before: %s", m.GoString())
	}
	s.addName(t, "new.example A 198.18.10.20")
	if lines := shown(t, unpacked(t, s.byUDP(t, asked))); !slices.Equal(lines, []string{"new.example. A 198.18.10.20"}) {
		t.Errorf("after: %q", lines)
	}
}

func TestLargeAnswersGoByTCP(t *testing.T) {
	s := start(t)
	s.addName(t, crowd)
	for _, extended := range []bool{false, true} {
		q := question("crowd.example.", dnsmessage.TypeA)
		if extended {
			var header dnsmessage.ResourceHeader
			if err := header.SetEDNS0(4096, 0, true); err != nil {
				t.Fatal(err)
			}
			q.Additionals = []dnsmessage.Resource{{Header: header, Body: &dnsmessage.OPTResource{}}}
		}
		asked := packed(t, q)
		answer := s.byUDP(t, asked)
		if m := unpacked(t, answer); len(answer) > 512 || !m.Truncated || len(m.Answers) != 0 || (len(m.Additionals) == 1) != extended {
			t.Errorf("by UDP, extended %v: %s", extended, m.GoString())
		}
		if m := unpacked(t, s.byTCP(t, asked)[0]); m.Truncated || len(m.Answers) != 50 || (len(m.Additionals) == 1) != extended {
			t.Errorf("by TCP, extended %v: %s", extended, m.GoString())
		}
	}
}

func TestEveryQuestionIsNoted(t *testing.T) {
	s := start(t)
	s.byUDP(t, packed(t, question("WWW.good.example.", dnsmessage.TypeA)))
	s.byTCP(t, packed(t, question("secret.evil.example.", dnsmessage.TypeTXT)), packed(t, question("www.good.example.", dnsmessage.TypeHTTPS)))
	s.byUDP(t, packed(t, question("a b\n\\\xff.example.", dnsmessage.Type(257))))
	s.byUDP(t, packed(t, question(".", dnsmessage.TypeNS)))
	want := []string{"www.good.example A", "secret.evil.example TXT", "www.good.example HTTPS", `a\032b\010\092\255.example TYPE257`, ". NS"}
	if got := s.lines(t, QuestionsFile); !slices.Equal(got, want) {
		t.Errorf("noted: %q\nwant   %q", got, want)
	}
}

// silent is a name service without listeners, with a names file of its own. What it logs goes to the buffer.
func silent(t testing.TB, extra string) (*Internet, *bytes.Buffer) {
	t.Helper()
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, NamesFile), append(slices.Clone(defaultNames), extra...), 0o600); err != nil {
		t.Fatal(err)
	}
	said := new(bytes.Buffer)
	return &Internet{folder: folder, log: log.New(said, "", 0), questions: notes{filepath.Join(folder, QuestionsFile)}}, said
}

func TestOddQuestions(t *testing.T) {
	i, _ := silent(t, "")
	www := question("www.good.example.", dnsmessage.TypeA)
	for name, test := range map[string]struct {
		change func(*dnsmessage.Message)
		code   dnsmessage.RCode
	}{
		"an update":     {func(m *dnsmessage.Message) { m.OpCode = 5 }, dnsmessage.RCodeNotImplemented},
		"no question":   {func(m *dnsmessage.Message) { m.Questions = nil }, dnsmessage.RCodeFormatError},
		"two questions": {func(m *dnsmessage.Message) { m.Questions = append(m.Questions, m.Questions[0]) }, dnsmessage.RCodeFormatError},
		"another class": {func(m *dnsmessage.Message) { m.Questions[0].Class = dnsmessage.ClassCHAOS }, dnsmessage.RCodeRefused},
	} {
		m := www
		m.Questions = slices.Clone(www.Questions)
		test.change(&m)
		if got := unpacked(t, i.answer(packed(t, m), largestPacket)); got.RCode != test.code || len(got.Answers) != 0 {
			t.Errorf("%s: %s, want code %v", name, got.GoString(), test.code)
		}
	}
	answer := www
	answer.Response = true
	if got := i.answer(packed(t, answer), largestPacket); got != nil {
		t.Errorf("an answer is answered: %x", got)
	}
	if got := i.answer([]byte("short"), largestPacket); got != nil {
		t.Errorf("no message is answered: %x", got)
	}
}

func TestBrokenNamesAreTold(t *testing.T) {
	for name, test := range map[string]struct{ extra, asked, want string }{
		"a bad line":        {"www.good.example\n", "git.example.", `expected NAME A ADDRESS..., NAME AAAA ADDRESS... or NAME CNAME TARGET`},
		"aliases in a ring": {"a.example CNAME b.example\nb.example CNAME a.example\n", "a.example.", `internet: answer for "a.example.": the chain of CNAME does not end`},
	} {
		i, said := silent(t, test.extra)
		got := unpacked(t, i.answer(packed(t, question(test.asked, dnsmessage.TypeA)), largestPacket))
		if got.RCode != dnsmessage.RCodeServerFailure || len(got.Answers) != 0 || !strings.HasSuffix(strings.TrimSpace(said.String()), test.want) {
			t.Errorf("%s: %s, logged %q", name, got.GoString(), said)
		}
	}
}

// FuzzAnswer asks anything: what is answered is a message, fits, and takes one line of the notes at most.
func FuzzAnswer(f *testing.F) {
	for _, name := range []string{"www.good.example.", "ALIAS.good.example.", "nobody.example.", "crowd.example.", "loop.example.", ".", "a\nb A\\.example."} {
		for _, kind := range []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA, dnsmessage.TypeCNAME, dnsmessage.TypeALL, 257} {
			m := packed(f, question(name, kind))
			f.Add(m)
			f.Add(m[:len(m)-3])
			f.Add(append(slices.Clone(m), 0xc0, 0x0c))
		}
	}
	q := question("www.good.example.", dnsmessage.TypeA)
	var header dnsmessage.ResourceHeader
	if err := header.SetEDNS0(1232, 0, true); err != nil {
		f.Fatal(err)
	}
	q.Additionals = []dnsmessage.Resource{{Header: header, Body: &dnsmessage.OPTResource{}}}
	f.Add(packed(f, q))
	// A name that is a pointer to itself.
	f.Add([]byte("\x12\x67\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01"))
	f.Add([]byte{})
	i, _ := silent(f, crowd+"\nloop.example CNAME loop.example\n")
	f.Fuzz(func(t *testing.T, message []byte) {
		_ = os.Remove(i.questions.path)
		answer := i.answer(message, largestPacket)
		if noted, err := os.ReadFile(i.questions.path); err == nil && (bytes.Count(noted, []byte("\n")) != 1 || bytes.Count(noted, []byte(" ")) != 1) {
			t.Errorf("noted: %q", noted)
		}
		if answer == nil {
			return
		}
		m := unpacked(t, answer)
		if len(answer) > largestPacket || !m.Response || m.ID != binary.BigEndian.Uint16(message) {
			t.Errorf("%x: %s", message, m.GoString())
		}
	})
}
