package command

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// realProvider names a pulumi-resource-command of Pulumi's own, against which the conformance tests run instead.
const realProvider = "LAB_COMMAND_PROVIDER"

// provider gives the address of the provider that the conformance tests are about.
func provider(t *testing.T) string {
	t.Helper()
	path := os.Getenv(realProvider)
	if path == "" {
		return serve(t)
	}
	plugin := exec.Command(path)
	plugin.Stderr = os.Stderr
	stdout, err := plugin.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := plugin.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = plugin.Process.Kill()
		_ = plugin.Wait()
	})
	port, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return "127.0.0.1:" + strings.TrimSpace(port)
}

// serve starts the lab's own provider.
func serve(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, l, "") }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// engine speaks to a provider as the CLI's engine does, and keeps what the provider logs.
type engine struct {
	pulumirpc.UnimplementedEngineServer
	t      *testing.T
	conn   *grpc.ClientConn
	client pulumirpc.ResourceProviderClient

	mu   sync.Mutex
	logs []string
}

var _ pulumirpc.EngineServer = (*engine)(nil)

func (e *engine) Log(_ context.Context, req *pulumirpc.LogRequest) (*emptypb.Empty, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	kind := "log"
	if req.GetEphemeral() {
		kind = "status"
	}
	e.logs = append(e.logs, fmt.Sprintf("%s %s %s", kind, strings.ToLower(req.GetSeverity().String()), req.GetMessage()))
	return &emptypb.Empty{}, nil
}

func (e *engine) logged() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return strings.Join(e.logs, "\n")
}

func (e *engine) forgetLog() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.logs = nil
}

func attach(t *testing.T, address string) *engine {
	t.Helper()
	e := &engine{t: t}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	pulumirpc.RegisterEngineServer(server, e)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	e.conn, err = grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.conn.Close() })
	e.client = pulumirpc.NewResourceProviderClient(e.conn)
	if _, err := e.client.Attach(t.Context(), &pulumirpc.PluginAttach{Address: l.Addr().String()}); err != nil {
		t.Fatal(err)
	}
	resp, err := e.client.Configure(t.Context(), &pulumirpc.ConfigureRequest{
		AcceptSecrets: true, AcceptResources: true, SendsOldInputs: true, SendsOldInputsToDelete: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	if !resp.GetAcceptSecrets() || !resp.GetSupportsPreview() {
		t.Fatalf("configure answers %v", resp)
	}
	return e
}

// end is what the CLI does at its end.
func (e *engine) end() {
	e.t.Helper()
	if _, err := e.client.Cancel(e.t.Context(), &emptypb.Empty{}); err != nil {
		e.t.Fatal(err)
	}
	e.conn.Close()
}

type props = map[string]any

func properties(v props) resource.PropertyMap {
	m := resource.PropertyMap{}
	for name, value := range v {
		m[resource.PropertyKey(name)] = property(value)
	}
	return m
}

func property(value any) resource.PropertyValue {
	switch value := value.(type) {
	case resource.PropertyValue:
		return value
	case props:
		return resource.NewProperty(properties(value))
	case int:
		return resource.NewProperty(float64(value))
	}
	return resource.NewPropertyValue(value)
}

func secret(v any) resource.PropertyValue { return resource.MakeSecret(property(v)) }

func unknown() resource.PropertyValue { return resource.MakeComputed(resource.NewProperty("")) }

func (e *engine) pack(m resource.PropertyMap) *structpb.Struct {
	e.t.Helper()
	s, err := marshal(m)
	if err != nil {
		e.t.Fatal(err)
	}
	return s
}

func (e *engine) unpack(s *structpb.Struct) resource.PropertyMap {
	e.t.Helper()
	m, err := unmarshal(s)
	if err != nil {
		e.t.Fatal(err)
	}
	return m
}

func urnOf(kind string) string { return "urn:pulumi:dev::test::" + kind + "::layer" }

func (e *engine) check(kind string, news props) (resource.PropertyMap, []string) {
	e.t.Helper()
	resp, err := e.client.Check(e.t.Context(), &pulumirpc.CheckRequest{Urn: urnOf(kind), News: e.pack(properties(news))})
	if err != nil {
		e.t.Fatal(err)
	}
	var failures []string
	for _, failure := range resp.GetFailures() {
		failures = append(failures, failure.GetProperty()+": "+failure.GetReason())
	}
	return e.unpack(resp.GetInputs()), failures
}

// made is a resource as the engine's state holds it.
type made struct {
	kind, id      string
	inputs, state resource.PropertyMap
}

func (e *engine) create(kind string, news props) (*made, error) {
	e.t.Helper()
	inputs, failures := e.check(kind, news)
	if failures != nil {
		e.t.Fatalf("check refuses: %v", failures)
	}
	resp, err := e.client.Create(e.t.Context(), &pulumirpc.CreateRequest{Urn: urnOf(kind), Properties: e.pack(inputs)})
	if err != nil {
		return nil, err
	}
	return &made{kind: kind, id: resp.GetId(), inputs: inputs, state: e.unpack(resp.GetProperties())}, nil
}

func (e *engine) mustCreate(kind string, news props) *made {
	e.t.Helper()
	m, err := e.create(kind, news)
	if err != nil {
		e.t.Fatal(err)
	}
	return m
}

func (e *engine) update(m *made, news props) error {
	e.t.Helper()
	inputs, failures := e.check(m.kind, news)
	if failures != nil {
		e.t.Fatalf("check refuses: %v", failures)
	}
	resp, err := e.client.Update(e.t.Context(), &pulumirpc.UpdateRequest{
		Id: m.id, Urn: urnOf(m.kind), Olds: e.pack(m.state), News: e.pack(inputs), OldInputs: e.pack(m.inputs),
	})
	if err != nil {
		return err
	}
	m.inputs, m.state = inputs, e.unpack(resp.GetProperties())
	return nil
}

// previewUpdate is what a preview promises of m.
func (e *engine) previewUpdate(m *made, news props) resource.PropertyMap {
	e.t.Helper()
	inputs, _ := e.check(m.kind, news)
	resp, err := e.client.Update(e.t.Context(), &pulumirpc.UpdateRequest{
		Id: m.id, Urn: urnOf(m.kind), Olds: e.pack(m.state), News: e.pack(inputs), OldInputs: e.pack(m.inputs), Preview: true,
	})
	if err != nil {
		e.t.Fatal(err)
	}
	return e.unpack(resp.GetProperties())
}

func (e *engine) delete(m *made) error {
	_, err := e.client.Delete(e.t.Context(), &pulumirpc.DeleteRequest{
		Id: m.id, Urn: urnOf(m.kind), Properties: e.pack(m.state), OldInputs: e.pack(m.inputs),
	})
	return err
}

func (e *engine) diff(m *made, news props) *pulumirpc.DiffResponse {
	e.t.Helper()
	inputs, _ := e.check(m.kind, news)
	resp, err := e.client.Diff(e.t.Context(), &pulumirpc.DiffRequest{
		Id: m.id, Urn: urnOf(m.kind), Olds: e.pack(m.state), News: e.pack(inputs), OldInputs: e.pack(m.inputs),
	})
	if err != nil {
		e.t.Fatal(err)
	}
	return resp
}

func (m *made) text(name string) string {
	v := m.state[resource.PropertyKey(name)]
	if !v.IsString() {
		return fmt.Sprintf("not plain: %v", v)
	}
	return v.StringValue()
}

// connection is how to reach s, with more on top; nil takes away.
func (s *sshd) connection(more props) props {
	return with(props{"host": "127.0.0.1", "port": s.port(), "user": "azureuser", "privateKey": s.clientKey, "hostKey": s.hostKey}, more)
}

func with(all, more props) props {
	for name, value := range more {
		all[name] = value
		if value == nil {
			delete(all, name)
		}
	}
	return all
}

// at adds a connection where the kind needs one.
func (s *sshd) at(kind string, inputs props) props {
	if kind == remoteType {
		inputs["connection"] = s.connection(nil)
	}
	return inputs
}

func message(err error) string {
	if err == nil {
		return "no error"
	}
	return status.Convert(err).Message()
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func waitFor(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("waited 10 s for %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
