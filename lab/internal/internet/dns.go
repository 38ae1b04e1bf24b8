package internet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	// ttl is short: a test that changes a name waits for no cache.
	ttl = 30
	// largest answer by UDP, also to a client that would take more: a client has to know how to ask again by TCP.
	largestPacket = 512
	// patience with a client that has connected and asks nothing more.
	patience = 10 * time.Second
	// longest chain of aliases that is followed.
	longestChain = 8
)

func (i *Internet) answerPackets(conn net.PacketConn) error {
	buffer := make([]byte, 65535)
	for {
		n, from, err := conn.ReadFrom(buffer)
		if err != nil {
			return err
		}
		if answer := i.answer(buffer[:n], largestPacket); answer != nil {
			// Who asked may be gone.
			_, _ = conn.WriteTo(answer, from)
		}
	}
}

// answerStream answers questions that have their length before them (RFC 1035, 4.2.2).
func (i *Internet) answerStream(conn net.Conn) {
	for {
		if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
			return
		}
		var length [2]byte
		if _, err := io.ReadFull(conn, length[:]); err != nil {
			return
		}
		question := make([]byte, binary.BigEndian.Uint16(length[:]))
		if _, err := io.ReadFull(conn, question); err != nil {
			return
		}
		answer := i.answer(question, 65535)
		if answer == nil {
			return
		}
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)); err != nil {
			return
		}
	}
}

// answer notes and answers one message, or gives nil where it is not to be answered.
func (i *Internet) answer(message []byte, largest int) []byte {
	var parser dnsmessage.Parser
	header, err := parser.Start(message)
	if err != nil || header.Response {
		return nil // an answer to an answer would go round for ever
	}
	reply := reply{header: dnsmessage.Header{
		ID: header.ID, Response: true, OpCode: header.OpCode, RecursionDesired: header.RecursionDesired, RecursionAvailable: true,
	}}
	questions, err := parser.AllQuestions()
	switch {
	case header.OpCode != 0:
		reply.header.RCode = dnsmessage.RCodeNotImplemented
	case err != nil || len(questions) != 1:
		reply.header.RCode = dnsmessage.RCodeFormatError
	default:
		reply.question = &questions[0]
		reply.extended = extended(&parser)
		i.note(i.questions, printable(lower(questions[0].Name.String()))+" "+typeName(questions[0].Type))
		known, err := readNames(filepath.Join(i.folder, NamesFile))
		if err == nil {
			err = reply.resolve(known)
		}
		if err != nil {
			i.log.Printf("internet: answer for %q: %v", questions[0].Name.String(), err)
			reply.header.RCode, reply.records = dnsmessage.RCodeServerFailure, nil
		}
	}
	packed, err := reply.pack()
	if err == nil && len(packed) > largest {
		reply.header.Truncated, reply.records = true, nil
		packed, err = reply.pack()
	}
	if err != nil {
		i.log.Printf("internet: pack an answer: %v", err)
		return nil
	}
	return packed
}

// extended tells whether the question came with EDNS, whose answer has it too (RFC 6891, 6.1.1).
func extended(parser *dnsmessage.Parser) bool {
	if parser.SkipAllAnswers() != nil || parser.SkipAllAuthorities() != nil {
		return false
	}
	for {
		header, err := parser.AdditionalHeader()
		if err != nil {
			return false
		}
		if header.Type == dnsmessage.TypeOPT {
			return true
		}
		if parser.SkipAdditional() != nil {
			return false
		}
	}
}

// reply is an answer while it is made.
type reply struct {
	header   dnsmessage.Header
	question *dnsmessage.Question
	records  []dnsmessage.Resource
	extended bool
}

// resolve finds the records, those of an alias's target too. An answer that says no has no SOA: then no cache keeps it, and
// a name that a test adds is there at once.
func (r *reply) resolve(known names) error {
	name := lower(r.question.Name.String())
	if r.question.Class != dnsmessage.ClassINET {
		r.header.RCode = dnsmessage.RCodeRefused
		return nil
	}
	shown := r.question.Name
	for range longestChain {
		found := known[name]
		if found == nil {
			r.header.RCode = dnsmessage.RCodeNameError
			return nil
		}
		if found.alias == "" {
			r.addresses(shown, found)
			return nil
		}
		target, err := dnsmessage.NewName(found.alias)
		if err != nil {
			return err
		}
		r.add(shown, dnsmessage.TypeCNAME, &dnsmessage.CNAMEResource{CNAME: target})
		if r.question.Type == dnsmessage.TypeCNAME {
			return nil
		}
		name, shown = found.alias, target
	}
	return errors.New("the chain of CNAME does not end")
}

func (r *reply) addresses(name dnsmessage.Name, found *records) {
	switch r.question.Type {
	case dnsmessage.TypeA:
		for _, address := range found.a {
			r.add(name, dnsmessage.TypeA, &dnsmessage.AResource{A: address.As4()})
		}
	case dnsmessage.TypeAAAA:
		for _, address := range found.aaaa {
			r.add(name, dnsmessage.TypeAAAA, &dnsmessage.AAAAResource{AAAA: address.As16()})
		}
	}
}

func (r *reply) add(name dnsmessage.Name, kind dnsmessage.Type, body dnsmessage.ResourceBody) {
	header := dnsmessage.ResourceHeader{Name: name, Type: kind, Class: dnsmessage.ClassINET, TTL: ttl}
	r.records = append(r.records, dnsmessage.Resource{Header: header, Body: body})
}

func (r *reply) pack() ([]byte, error) {
	message := dnsmessage.Message{Header: r.header, Answers: r.records}
	if r.question != nil {
		message.Questions = []dnsmessage.Question{*r.question}
	}
	if r.extended {
		var header dnsmessage.ResourceHeader
		if err := header.SetEDNS0(largestPacket, r.header.RCode, false); err != nil {
			return nil, err
		}
		message.Additionals = []dnsmessage.Resource{{Header: header, Body: &dnsmessage.OPTResource{}}}
	}
	return message.Pack()
}

// printable is a name as one word of one line, without its final dot: a label may hold any byte.
func printable(name string) string {
	if name != "." {
		name = strings.TrimSuffix(name, ".")
	}
	var b strings.Builder
	for _, c := range []byte(name) {
		if c <= ' ' || c > '~' || c == '\\' {
			fmt.Fprintf(&b, `\%03d`, c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// typeName is a type as everybody writes it, HTTPS, or TYPE257 (RFC 3597).
func typeName(t dnsmessage.Type) string {
	if name, ok := strings.CutPrefix(t.String(), "Type"); ok {
		return name
	}
	return fmt.Sprintf("TYPE%d", uint16(t))
}
