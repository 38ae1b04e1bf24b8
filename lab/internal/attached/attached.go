// Package attached serves Pulumi providers to engines that attach to a server which already runs.
//
// A plugin's process belongs to one run of the CLI and dies with it. An attached server outlives many runs and sees
// several at once, so whatever a plugin's process keeps to itself (its configuration, where it logs, what it has to
// give up when the run is cancelled) is kept here for each connection: an engine makes one for each plugin.
package attached

import (
	"context"
	"fmt"
	"net"
	"path"
	"strings"
	"sync"
	"time"

	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/stats"

	"openclaw-azure/lab/internal/calls"
)

// maxMessage is what the engine itself allows for one message.
const maxMessage = 400 << 20

// Engine is the engine at the other end of one connection.
type Engine struct {
	mu        sync.Mutex
	host      *grpc.ClientConn
	ctx       context.Context
	cancel    context.CancelFunc
	cancelled bool
}

func newEngine(ctx context.Context) *Engine {
	e := &Engine{}
	e.ctx, e.cancel = context.WithCancel(ctx)
	return e
}

// Attach remembers where the engine takes log messages.
func (e *Engine) Attach(address string) error {
	host, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("attach to the engine at %q: %w", address, err)
	}
	e.mu.Lock()
	old := e.host
	e.host = host
	e.mu.Unlock()
	if old != nil {
		return old.Close()
	}
	return nil
}

// Cancel tells what waits on Context that this run was cancelled. Later runs come over connections of their own and
// are not touched.
func (e *Engine) Cancel() {
	e.mu.Lock()
	e.cancelled = true
	e.mu.Unlock()
	e.cancel()
}

// Cancelled says whether the engine asked to cancel: it does so when its user interrupts it and at its own end, but
// not when it is killed.
func (e *Engine) Cancelled() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.cancelled
}

// Context ends with Cancel, with the server, and not with a single request or a broken connection.
func (e *Engine) Context() context.Context { return e.ctx }

// Log shows a message under a resource and keeps it in the run's output.
func (e *Engine) Log(severity pulumirpc.LogSeverity, urn, message string) {
	e.send(&pulumirpc.LogRequest{Severity: severity, Urn: urn, Message: strings.ToValidUTF8(message, "\uFFFD")})
}

// Status shows a message beside a resource while it is worked on.
func (e *Engine) Status(severity pulumirpc.LogSeverity, urn, message string) {
	e.send(&pulumirpc.LogRequest{Severity: severity, Urn: urn, Message: strings.ToValidUTF8(message, "\uFFFD"), Ephemeral: true})
}

// send gives up after a while: an engine that was killed answers nothing, and what it started goes on without it.
func (e *Engine) send(req *pulumirpc.LogRequest) {
	host := e.logHost()
	if host == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, _ = pulumirpc.NewEngineClient(host).Log(ctx, req)
}

func (e *Engine) logHost() *grpc.ClientConn {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.host
}

func (e *Engine) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.host != nil {
		_ = e.host.Close()
		e.host = nil
	}
}

// Run is a provider as one engine sees it. Closed is called once when its connection is gone.
type Run interface {
	pulumirpc.ResourceProviderServer
	Closed()
}

// Serve answers engines on l until ctx ends; open makes the provider for each connection. Where engineAddress is not
// empty the server was started by that engine, which then does not attach.
func Serve(ctx context.Context, l net.Listener, engineAddress string, open func(*Engine) Run) error {
	conns := &connections{ctx: ctx, open: open, engineAddress: engineAddress}
	server := grpc.NewServer(grpc.MaxRecvMsgSize(maxMessage), grpc.StatsHandler(conns), grpc.UnaryInterceptor(note))
	server.RegisterService(perConnection(pulumirpc.ResourceProvider_ServiceDesc), nil)
	stopped := make(chan struct{})
	defer close(stopped)
	go func() {
		select {
		case <-ctx.Done():
			server.Stop()
		case <-stopped:
		}
	}()
	if err := server.Serve(l); err != nil && ctx.Err() == nil {
		return fmt.Errorf("serve providers on %s: %w", l.Addr(), err)
	}
	return nil
}

// perConnection hands every call to the provider of the connection that it came over.
func perConnection(desc grpc.ServiceDesc) *grpc.ServiceDesc {
	methods := make([]grpc.MethodDesc, len(desc.Methods))
	for i, method := range desc.Methods {
		handler := method.Handler
		methods[i] = grpc.MethodDesc{
			MethodName: method.MethodName,
			Handler: func(_ any, ctx context.Context, decode func(any) error, ic grpc.UnaryServerInterceptor) (any, error) {
				return handler(ctx.Value(connKey{}).(*connection).run, ctx, decode, ic)
			},
		}
	}
	return &grpc.ServiceDesc{ServiceName: desc.ServiceName, HandlerType: desc.HandlerType, Methods: methods, Metadata: desc.Metadata}
}

// note notes how long a call took.
func note(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	call := calls.Call{Method: path.Base(info.FullMethod), Start: time.Now()}
	if about, ok := req.(interface{ GetUrn() string }); ok {
		call.URN = about.GetUrn()
	}
	resp, err := handler(ctx, req)
	call.End = time.Now()
	call.Note()
	return resp, err
}

type connKey struct{}

type connection struct {
	engine *Engine
	run    Run
}

// connections follows connections as they come and go.
type connections struct {
	ctx           context.Context
	open          func(*Engine) Run
	engineAddress string
}

var _ stats.Handler = (*connections)(nil)

func (c *connections) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context {
	engine := newEngine(c.ctx)
	if c.engineAddress != "" {
		// An address that does not parse leaves the provider without a log, which is no reason to refuse to work.
		_ = engine.Attach(c.engineAddress)
	}
	return context.WithValue(ctx, connKey{}, &connection{engine: engine, run: c.open(engine)})
}

func (c *connections) HandleConn(ctx context.Context, s stats.ConnStats) {
	if _, ended := s.(*stats.ConnEnd); !ended {
		return
	}
	conn := ctx.Value(connKey{}).(*connection)
	conn.run.Closed()
	conn.engine.close()
}

func (c *connections) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

func (c *connections) HandleRPC(context.Context, stats.RPCStats) {}
