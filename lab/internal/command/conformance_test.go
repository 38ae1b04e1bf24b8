package command

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
)

// What these tests say holds for Pulumi's own provider too: they run against it where LAB_COMMAND_PROVIDER names one.

func TestCheckOfAConnection(t *testing.T) {
	e := attach(t, provider(t))
	inputs, failures := e.check(remoteType, props{"connection": props{"host": "h", "privateKey": "k"}, "create": "true"})
	if failures != nil {
		t.Fatal(failures)
	}
	connection := inputs["connection"]
	if !connection.IsSecret() {
		t.Fatal("the connection is no secret")
	}
	object := connection.SecretValue().Element.ObjectValue()
	equal(t, "user", object["user"].StringValue(), "root")
	equal(t, "port", object["port"].NumberValue(), 22)
	equal(t, "dialErrorLimit", object["dialErrorLimit"].NumberValue(), 10)
	equal(t, "perDialTimeout", object["perDialTimeout"].NumberValue(), 15)
	equal(t, "private key is a secret", object["privateKey"].IsSecret(), true)

	for _, test := range []struct {
		kind     string
		news     props
		failures int
	}{
		{remoteType, props{"create": "true"}, 1},
		{remoteType, props{"connection": props{"user": "x"}}, 1},
		{remoteType, props{"connection": props{"host": unknown()}}, 0},
		{remoteType, props{"connection": unknown()}, 0},
		{remoteType, props{"connection": secret(props{"host": unknown()})}, 0},
		{remoteType, props{"connection": props{"host": "h", "port": "x"}}, 1},
		{localType, props{"create": 1}, 1},
		{localType, props{}, 0},
	} {
		_, failures := e.check(test.kind, test.news)
		equal(t, fmt.Sprint(test.news), len(failures), test.failures)
	}
}

func TestRemoteCommand(t *testing.T) {
	s := newSSHD(t, "GREETING")
	e := attach(t, provider(t))
	m := e.mustCreate(remoteType, props{
		"connection":  s.connection(nil),
		"create":      `read name; echo "$GREETING $name"; echo second; sleep 0.1; echo careful >&2`,
		"stdin":       secret("canary\n"),
		"environment": props{"GREETING": "hello"},
	})
	equal(t, "stdout", m.text("stdout"), "hello canary\nsecond")
	equal(t, "stderr", m.text("stderr"), "careful")
	equal(t, "stdin stays secret", m.state["stdin"].IsSecret(), true)
	equal(t, "connection stays secret", m.state["connection"].IsSecret(), true)
	if !regexp.MustCompile("^layer[0-9a-f]{8}$").MatchString(m.id) {
		t.Errorf("id %q", m.id)
	}
	equal(t, "log", e.logged(), "status info hello canary\nstatus info second\nstatus info careful")
}

func TestLocalCommand(t *testing.T) {
	e := attach(t, provider(t))
	dir := t.TempDir()
	m := e.mustCreate(localType, props{
		"create": "echo $PWD $NAME; cat", "dir": dir, "environment": props{"NAME": "x"}, "stdin": secret("in"),
		"interpreter": []any{"/bin/sh", "-e", "-c"},
	})
	equal(t, "stdout", m.text("stdout"), dir+" x\nin")
}

func TestLogging(t *testing.T) {
	s := newSSHD(t)
	for logging, want := range map[string]string{
		"stdout": "status info out", "stderr": "status info err", "none": "",
	} {
		e := attach(t, provider(t))
		for _, kind := range []string{localType, remoteType} {
			e.forgetLog()
			m := e.mustCreate(kind, s.at(kind, props{"create": "echo out; echo err >&2", "logging": logging}))
			equal(t, logging+" log", e.logged(), want)
			equal(t, logging+" stdout", m.text("stdout"), "out")
			equal(t, logging+" stderr", m.text("stderr"), "err")
		}
	}
}

// Any changed input is an update that runs update, else create; deleting runs delete, or nothing.
func TestLifeOfACommand(t *testing.T) {
	s := newSSHD(t)
	e := attach(t, provider(t))
	for _, kind := range []string{remoteType, localType} {
		file := filepath.Join(t.TempDir(), "ran")
		// Reading all input first: a remote command that ends without may fail with "EOF", here as there.
		record := func(word string) string { return "cat >/dev/null; echo " + word + " >>" + file + "; echo " + word }
		inputs := s.at(kind, props{"create": record("create")})
		m := e.mustCreate(kind, inputs)
		inputs["stdin"] = "changed"
		equal(t, "update by create", e.update(m, inputs), nil)
		equal(t, "stdout", m.text("stdout"), "create")
		inputs["update"] = record("update")
		equal(t, "update", e.update(m, inputs), nil)
		equal(t, "stdout", m.text("stdout"), "update")
		equal(t, "delete without a command", e.delete(m), nil)
		inputs["delete"] = record("delete")
		equal(t, "update", e.update(m, inputs), nil)
		equal(t, "delete", e.delete(m), nil)
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, kind, string(data), "create\ncreate\nupdate\nupdate\ndelete\n")

		none := e.mustCreate(kind, s.at(kind, props{}))
		equal(t, "nothing to run", none.text("stdout"), "")
	}
}

// Without a delete command nobody is dialled: a dead host does not hold a destroy.
func TestDeleteOnADeadHost(t *testing.T) {
	s := newSSHD(t)
	e := attach(t, provider(t))
	m := e.mustCreate(remoteType, props{"connection": s.connection(props{"dialErrorLimit": 0}), "create": "true"})
	s.listener.Close()
	equal(t, "delete", e.delete(m), nil)
	m.state["delete"] = property("true")
	m.inputs["delete"] = property("true")
	equal(t, "delete with a command", strings.HasPrefix(message(e.delete(m)), "after 0 failed attempts: dial tcp 127.0.0.1:"), true)
}

func TestDiff(t *testing.T) {
	s := newSSHD(t)
	e := attach(t, provider(t))
	inputs := func(more props) props {
		return with(props{"connection": s.connection(nil), "create": "true", "triggers": []any{"a"}}, more)
	}
	m := e.mustCreate(remoteType, inputs(nil))
	for _, test := range []struct {
		name, detail, replaces string
		more                   props
	}{
		{"nothing", "", "", nil},
		{"the connection", "connection:UPDATE", "", props{"connection": s.connection(props{"dialErrorLimit": 3})}},
		{"the command", "create:UPDATE", "", props{"create": "false"}},
		{"a command more", "update:ADD", "", props{"update": "false"}},
		{"an element of the triggers, which the SDK makes a replacement", "triggers[0]:UPDATE", "", props{"triggers": []any{"b"}}},
		{"no triggers", "triggers:DELETE_REPLACE", "triggers", props{"triggers": nil}},
	} {
		resp := e.diff(m, inputs(test.more))
		var detail []string
		for path, change := range resp.GetDetailedDiff() {
			detail = append(detail, path+":"+change.GetKind().String())
		}
		equal(t, test.name, strings.Join(detail, ","), test.detail)
		equal(t, test.name+" replaces", strings.Join(resp.GetReplaces(), ","), test.replaces)
		equal(t, test.name+" changes", resp.GetChanges() == pulumirpc.DiffResponse_DIFF_SOME, test.detail != "")
		equal(t, test.name+" delete first", resp.GetDeleteBeforeReplace(), false)
	}
}

func TestPreview(t *testing.T) {
	s := newSSHD(t)
	e := attach(t, provider(t))
	inputs, _ := e.check(remoteType, props{"connection": s.connection(nil), "create": unknown(), "stdin": secret("x")})
	resp, err := e.client.Create(t.Context(), &pulumirpc.CreateRequest{Urn: urnOf(remoteType), Properties: e.pack(inputs), Preview: true})
	if err != nil {
		t.Fatal(err)
	}
	out := e.unpack(resp.GetProperties())
	equal(t, "stdout is unknown", out["stdout"].ContainsUnknowns(), true)
	equal(t, "stderr is unknown", out["stderr"].ContainsUnknowns(), true)
	equal(t, "stdin is secret", out["stdin"].IsSecret(), true)
	equal(t, "stdin is known", out["stdin"].ContainsUnknowns(), false)

	same := func(more props) props {
		return with(props{"connection": s.connection(nil), "create": "cat >/dev/null; echo x", "stdin": "a"}, more)
	}
	m := e.mustCreate(remoteType, same(nil))
	for name, test := range map[string]struct {
		more    props
		unknown bool
	}{
		"unchanged":           {nil, false},
		"a changed command":   {props{"create": "echo y"}, true},
		"an unknown command":  {props{"create": unknown()}, true},
		"a changed host":      {props{"connection": s.connection(props{"user": "claw"})}, true},
		"an input taken away": {props{"stdin": nil}, true},
		// The real provider looks at inputs that the state holds already; what it says of the others is a promise it breaks.
		"an input more": {props{"update": "echo y"}, false},
	} {
		equal(t, name, e.previewUpdate(m, same(test.more))["stdout"].ContainsUnknowns(), test.unknown)
	}
	equal(t, "dials", s.dialled(), 1)
}

// A refresh looks at no host.
func TestRead(t *testing.T) {
	s := newSSHD(t)
	e := attach(t, provider(t))
	m := e.mustCreate(remoteType, props{"connection": s.connection(nil), "create": "echo x"})
	resp, err := e.client.Read(t.Context(), &pulumirpc.ReadRequest{Id: m.id, Urn: urnOf(remoteType), Properties: e.pack(m.state), Inputs: e.pack(m.inputs)})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "id", resp.GetId(), m.id)
	equal(t, "stdout", e.unpack(resp.GetProperties())["stdout"].StringValue(), "x")
	equal(t, "dials", s.dialled(), 1)
}

// An error holds the command and both streams, whatever logging says, and never the input.
func TestFailure(t *testing.T) {
	s := newSSHD(t)
	e := attach(t, provider(t))
	text := "echo out; sleep 0.1; echo err >&2; exit 3"
	_, err := e.create(remoteType, props{"connection": s.connection(nil), "create": text, "stdin": secret("canary"), "logging": "none"})
	equal(t, "remote", message(err), "Process exited with status 3: running \""+text+"\":\nout\nerr\n")
	_, err = e.create(localType, props{"create": text, "stdin": secret("canary"), "logging": "none"})
	equal(t, "local", message(err), "exit status 3: running \""+text+"\":\nout\nerr\n")
	equal(t, "log", e.logged(), "")
	_, err = e.create(localType, props{"create": "true", "dir": "/nowhere"})
	equal(t, "a directory that is not there", message(err), "chdir /nowhere: no such file or directory: running \"true\":\n")
}

func TestEnvironment(t *testing.T) {
	s := newSSHD(t, "ACCEPTED")
	e := attach(t, provider(t))
	_, err := e.create(remoteType, props{"connection": s.connection(nil), "create": "true", "environment": props{"REFUSED": "canary"}})
	equal(t, "refused variable", message(err), `could not set environment variable "REFUSED": ssh: setenv failed`)
	equal(t, "its log", strings.HasPrefix(e.logged(), "log error Unable to set 'REFUSED'"), true)
}

// The last output goes into the environment: a warning where the server refuses, nothing where it is not wanted.
func TestPreviousOutput(t *testing.T) {
	refusing := newSSHD(t)
	accepting := newSSHD(t, stdoutVariable, stderrVariable)
	e := attach(t, provider(t))
	shows := `cat >/dev/null; echo "[$PULUMI_COMMAND_STDOUT][$PULUMI_COMMAND_STDERR]"`
	inputs := func(s *sshd, more props) props {
		return with(props{"connection": s.connection(nil), "create": "echo one; echo two >&2", "update": shows, "logging": "none"}, more)
	}
	m := e.mustCreate(remoteType, inputs(accepting, nil))
	equal(t, "update", e.update(m, inputs(accepting, props{"stdin": "x"})), nil)
	equal(t, "accepted", m.text("stdout"), "[one][two]")

	m = e.mustCreate(remoteType, inputs(refusing, nil))
	equal(t, "update", e.update(m, inputs(refusing, props{"stdin": "x"})), nil)
	equal(t, "refused", m.text("stdout"), "[][]")
	equal(t, "warnings", strings.Count(e.logged(), "log warning Unable to set 'PULUMI_COMMAND_STD"), 2)

	e.forgetLog()
	m = e.mustCreate(remoteType, inputs(refusing, props{"addPreviousOutputInEnv": false}))
	equal(t, "update", e.update(m, inputs(refusing, props{"addPreviousOutputInEnv": false, "stdin": "x"})), nil)
	equal(t, "warnings", e.logged(), "")

	local := props{"create": "echo one; echo two >&2", "update": shows}
	m = e.mustCreate(localType, local)
	equal(t, "update", e.update(m, local), nil)
	equal(t, "local", m.text("stdout"), "[one][two]")
}

// dialErrorLimit 3 makes four dials, each after half as long again.
func TestDialErrors(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	e := attach(t, provider(t))
	start := time.Now()
	_, err = e.create(remoteType, props{"connection": props{"host": "127.0.0.1", "port": port, "dialErrorLimit": 3}, "create": "true"})
	took := time.Since(start)
	equal(t, "closed port", message(err), fmt.Sprintf("after 3 failed attempts: dial tcp 127.0.0.1:%d: connect: connection refused", port))
	equal(t, "log", e.logged(), "status info Dial 1/3 failed: retrying\nstatus info Dial 2/3 failed: retrying\nstatus info Dial 3/3 failed: retrying")
	if took < 475*time.Millisecond || took > 5*time.Second {
		t.Errorf("four dials took %s", took)
	}

	s := newSSHD(t)
	s.refuseNext(2)
	e.mustCreate(remoteType, props{"connection": s.connection(nil), "create": "true"})
	equal(t, "dials", s.dialled(), 3)
}

// Wrong keys and wrong host keys are tried again too.
func TestRefusedKeys(t *testing.T) {
	s := newSSHD(t)
	e := attach(t, provider(t))
	_, stranger := newKey(t)
	_, err := e.create(remoteType, props{"connection": s.connection(props{"privateKey": stranger, "dialErrorLimit": 1}), "create": "true"})
	equal(t, "wrong key", message(err), "after 1 failed attempts: ssh: handshake failed: ssh: unable to authenticate, attempted methods [none publickey], no supported methods remain")
	equal(t, "dials", s.dialled(), 2)

	other := newSSHD(t)
	_, err = e.create(remoteType, props{"connection": s.connection(props{"hostKey": other.hostKey, "dialErrorLimit": 1}), "create": "true"})
	equal(t, "wrong host key", message(err), "after 1 failed attempts: ssh: handshake failed: ssh: host key mismatch")
	equal(t, "dials", s.dialled(), 4)
	_, err = e.create(remoteType, props{"connection": s.connection(props{"hostKey": "canary"}), "create": "true"})
	equal(t, "no host key", message(err), "failed to parse host key: ssh: no key found")
	e.mustCreate(remoteType, props{"connection": s.connection(props{"hostKey": nil}), "create": "true"})
	e.mustCreate(remoteType, props{"connection": s.connection(props{"privateKey": nil, "password": "correct horse"}), "create": "true"})
}

// An agent that does not answer fails the dial even where a key is given.
func TestStaleAgent(t *testing.T) {
	s := newSSHD(t)
	e := attach(t, provider(t))
	_, err := e.create(remoteType, props{"connection": s.connection(props{"agentSocketPath": "/nowhere"}), "create": "true"})
	equal(t, "agent", message(err), "dial unix /nowhere: connect: no such file or directory")
	equal(t, "dials", s.dialled(), 0)
}

// Connections are kept until the end of the run.
func TestConnectionsAreKept(t *testing.T) {
	s := newSSHD(t)
	e := attach(t, provider(t))
	e.mustCreate(remoteType, props{"connection": s.connection(nil), "create": "true"})
	e.mustCreate(remoteType, props{"connection": s.connection(nil), "create": "true"})
	equal(t, "connections", s.connections(), 2)
}
