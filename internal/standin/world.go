// Package standin is all that the engine's tests have in place of the world: Azure, the provider of commands, the guest and
// the way to it. Pulumi's engine itself is the real one. Each part says what it cannot show.
package standin

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/blang/semver"
	"github.com/pulumi/pulumi/pkg/v3/display"
	"github.com/pulumi/pulumi/pkg/v3/engine"
	"github.com/pulumi/pulumi/pkg/v3/engine/lifecycletest/framework"
	state "github.com/pulumi/pulumi/pkg/v3/resource"
	"github.com/pulumi/pulumi/pkg/v3/resource/deploy"
	"github.com/pulumi/pulumi/pkg/v3/resource/deploy/deploytest"
	"github.com/pulumi/pulumi/pkg/v3/resource/plugin"
	"github.com/pulumi/pulumi/sdk/v3/go/common/diag"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/config"
	"github.com/pulumi/pulumi/sdk/v3/go/common/workspace"
	"github.com/pulumi/pulumi/sdk/v3/go/property"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"openclaw-azure/internal/keys"
	"openclaw-azure/internal/reach"
)

// World is all that is not the program: Pulumi's engine, which is the real one, the stack's configuration and state,
// Azure, the guest behind it, and the place that Pulumi runs at.
type World struct {
	Program        Program
	T              *testing.T
	project, Stack string
	Config         map[string]string // by full key
	Secrets        map[string]string // by full key: an object whose members are all secret, but for kinds
	State          *deploy.Snapshot
	Home           netip.Addr

	mu       sync.Mutex // of everything below: the engine calls from many sides
	Azure    *cloud
	Commands *commands
	Guest    *guest // nil while there is no machine

	HalfWritten int             // how many more times the state is read while it is being written
	OldLayout   bool            // the backend keeps its stacks without their projects
	Silent      bool            // the guest answers nobody
	PortTaken   bool            // another process has the tunnel's local port
	Peer        string          // the environment variable CLAW_PEER
	Fails       map[string]bool // commands that fail

	listening  bool              // this run has the local port
	tried      map[string]bool   // the doors that were tried since the last command
	confirming map[string]uint16 // layers that the program is confirming, and by which port

	happened []string // what Azure and the commands did in this run, in order
	Canaries []string // what must stand nowhere in plain text
}

// Program is what main runs: with what the CLI says of the run, the way to the host, and the environment variable CLAW_PEER.
type Program func(ctx *pulumi.Context, info pulumi.RunInfo, doors Doors, peer string) error

// New is a world before anything was deployed.
func New(t *testing.T, program Program) *World {
	w := &World{T: t, Program: program, project: "openclaw", Stack: "dev", Home: netip.MustParseAddr("198.18.1.10"),
		Config:  map[string]string{"azure-native:location": "westeurope", "openclaw:allowedSshCidr": "198.18.1.10/32"},
		Secrets: map[string]string{}, Fails: map[string]bool{}, confirming: map[string]uint16{}}
	w.Azure = &cloud{world: w, Exists: map[resource.ID]resource.PropertyMap{}, Fails: map[string]string{}, Busy: map[string]int{}, GivesUp: map[string]int{}}
	w.Commands = &commands{world: w}
	return w
}

// Deployed is a world after a first `pulumi up`, closed one whose port 22 was closed then. Each is made once and copied.
func Deployed(t *testing.T, program Program) *World {
	return once(t, &firstDeployed, func() *World { return New(t, program) })
}

// Closed is a world whose port 22 was closed after that.
func Closed(t *testing.T, program Program) *World {
	return once(t, &firstClosed, func() *World {
		w := Deployed(t, program)
		w.Set("bootstrap", "false")
		return w
	})
}

var firstDeployed, firstClosed struct {
	sync.Mutex
	world *World
}

func once(t *testing.T, first *struct {
	sync.Mutex
	world *World
}, begin func() *World) *World {
	first.Lock()
	defer first.Unlock()
	if first.world == nil {
		w := begin()
		w.MustUp()
		first.world = w
	}
	return first.world.Copy(t)
}

// Set is `pulumi config set`.
func (w *World) Set(key, value string) { w.Config["openclaw:"+key] = value }

// note writes down what happens; mu is held.
func (w *World) note(what string) { w.happened = append(w.happened, what) }

func (w *World) Up(options ...Option) *Result { return w.run(engine.Update, false, options...) }

func (w *World) Preview(options ...Option) *Result { return w.run(engine.Update, true, options...) }

func (w *World) Refresh() *Result { return w.run(engine.Refresh, false) }

func (w *World) Destroy() *Result { return w.run(engine.Destroy, false) }

// Target is --target of the resource with that label.
func (w *World) Target(wanted string) Option {
	return Targets(string(w.Resources()[wanted].URN))
}

// MustUp is `pulumi up` that succeeds, and after which `pulumi preview --expect-no-changes` does.
func (w *World) MustUp(options ...Option) *Result {
	w.T.Helper()
	r := w.Up(options...)
	if r.Err != nil {
		w.T.Fatalf("up: %v\n%s", r.Err, strings.Join(r.Messages, "\n"))
	}
	w.Quiet()
	return r
}

// Quiet fails unless a preview finds nothing to change and nothing to say.
func (w *World) Quiet() {
	w.T.Helper()
	r := w.Preview()
	if r.Err != nil || len(r.Changes()) > 0 || len(r.Messages) > 0 {
		w.T.Errorf("preview --expect-no-changes: %v, changes %q, messages %q", r.Err, r.Changes(), r.Messages)
	}
}

func (w *World) run(op framework.TestOp, dryRun bool, options ...Option) *Result {
	w.T.Helper()
	w.happened, w.tried = nil, map[string]bool{}
	r := &Result{t: w.T}
	opts := framework.TestUpdateOptions{T: w.T, SkipDisplayTests: true}
	for _, o := range options {
		o(&opts.UpdateOptions)
	}
	var host plugin.Host
	var programs sync.WaitGroup
	opts.HostFactory = func(_ context.Context, d, status diag.Sink, _ plugin.DebugContext) (plugin.Host, error) {
		language := &languageHost{LanguageRuntime: deploytest.NewLanguageRuntime(nil), world: w, programs: &programs}
		host = deploytest.NewPluginHost(d, status, language,
			deploytest.NewProviderLoader("azure-native", semver.MustParse("2.90.0"), func() (plugin.Provider, error) { return w.Azure.provider(), nil }),
			deploytest.NewProviderLoader("command", semver.MustParse("1.2.1"), func() (plugin.Provider, error) { return w.Commands.provider(), nil }))
		language.engine = host.ServerAddr()
		return host, nil
	}
	plan := framework.TestPlan{Project: w.project, Stack: w.Stack, Config: w.configMap(), Decrypter: config.Base64Crypter}
	planned := framework.TestOp(func(info engine.UpdateInfo, ctx *engine.Context, opts engine.UpdateOptions, dryRun bool) (*deploy.Plan, display.ResourceChanges, error) {
		plan, changes, err := op(info, ctx, opts, dryRun)
		r.plan = plan
		return plan, changes, err
	})
	state, err := planned.Run(plan.GetProject(), plan.GetTarget(w.T, w.State), opts, dryRun, w.backend(),
		func(_ workspace.Project, _ deploy.Target, _ engine.JournalEntries, events []engine.Event, err error) error {
			r.read(events)
			return err
		})
	programs.Wait() // Pulumi ends them with itself
	if host != nil {
		if err := host.Close(); err != nil {
			w.T.Errorf("close the plugin host: %v", err)
		}
	}
	r.Err, r.Happened = err, w.happened
	if !dryRun {
		if state == nil {
			w.T.Fatalf("no state is left: %v", err)
		}
		w.State = state
	}
	r.Outputs = w.Outputs()
	if places := w.Leaks(r); len(places) > 0 {
		w.T.Errorf("secrets in plain text: %q", places)
	}
	return r
}

func (w *World) configMap() config.Map {
	m := config.Map{}
	for key, value := range w.Config {
		m[config.MustParseKey(key)] = config.NewValue(value)
	}
	for key, object := range w.Secrets {
		var members map[string]any
		if json.Unmarshal([]byte(object), &members) != nil { // a text
			m[config.MustParseKey(key)] = config.NewSecureValue(base64.StdEncoding.EncodeToString([]byte(object)))
			w.Canaries = append(w.Canaries, object)
			continue
		}
		text, err := json.Marshal(w.sealed(members))
		if err != nil {
			w.T.Fatal(err)
		}
		m[config.MustParseKey(key)] = config.NewSecureObjectValue(string(text))
	}
	return m
}

// sealed are an object's members as --secret --path sets them; the kind of something is no secret.
func (w *World) sealed(members map[string]any) map[string]any {
	sealed := map[string]any{}
	for name, value := range members {
		switch value := value.(type) {
		case map[string]any:
			sealed[name] = w.sealed(value)
		case string:
			sealed[name] = value
			if name != "kind" {
				sealed[name] = map[string]string{"secure": base64.StdEncoding.EncodeToString([]byte(value))}
				w.Canaries = append(w.Canaries, value)
			}
		}
	}
	return sealed
}

// backend answers the program's reference to its own stack from the state.
func (w *World) backend() deploy.BackendClient {
	own := func(name string) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.OldLayout {
			return errors.New("a stack name may only contain alphanumeric, hyphens, underscores, or periods: invalid character '/' at position 12")
		}
		if w.HalfWritten > 0 {
			w.HalfWritten--
			return fmt.Errorf("failed to load checkpoint: %w", io.EOF)
		}
		if want := "organization/" + w.project + "/" + w.Stack; name != want {
			return fmt.Errorf("stack %q, want %q", name, want)
		}
		return nil
	}
	return &deploytest.BackendClient{
		GetStackOutputsF: func(_ context.Context, name string, _ func(error) error) (property.Map, error) {
			return given(w.Outputs()), own(name)
		},
		GetStackResourceOutputsF: func(_ context.Context, name string) (property.Map, error) {
			of := map[string]property.Value{}
			if w.State != nil {
				for _, r := range w.State.Resources {
					of[string(r.URN)] = property.New(map[string]property.Value{
						"type": property.New(string(r.Type)), "outputs": property.New(given(r.Outputs))})
				}
			}
			return property.NewMap(of), own(name)
		},
	}
}

// Outputs are the stack's.
func (w *World) Outputs() resource.PropertyMap {
	if w.State != nil {
		for _, r := range w.State.Resources {
			if r.Type == resource.RootStackType {
				return r.Outputs
			}
		}
	}
	return resource.PropertyMap{}
}

// Resources are those in the state that a provider made, by label.
func (w *World) Resources() map[string]*state.State {
	found := map[string]*state.State{}
	for _, r := range w.State.Resources {
		if r.Custom && !strings.HasPrefix(string(r.Type), "pulumi:") {
			found[Label(r.URN)] = r
		}
	}
	return found
}

// Inputs are a resource's, as a person would write them.
func (w *World) Inputs(label string) map[string]any {
	w.T.Helper()
	r, ok := w.Resources()[label]
	if !ok {
		w.T.Fatalf("no resource %q", label)
	}
	return Plain(r.Inputs).Mappable()
}

// languageHost runs the program as Pulumi's language host for Go does, with main's part in this process.
type languageHost struct {
	plugin.LanguageRuntime
	world    *World
	engine   string
	programs *sync.WaitGroup // that run
}

func (l *languageHost) Run(_ context.Context, info plugin.RunInfo) (string, bool, error) {
	l.programs.Add(1)
	defer l.programs.Done()
	values := map[string]string{}
	for key, value := range info.Config {
		values[key.String()] = value
	}
	var secret []string
	for _, key := range info.ConfigSecretKeys {
		secret = append(secret, key.String())
	}
	var run pulumi.RunInfo
	doors := Doors{l.world}
	err := pulumi.RunErr(func(ctx *pulumi.Context) error { return l.world.Program(ctx, run, doors, l.world.Peer) }, func(i *pulumi.RunInfo) {
		i.Project, i.Stack, i.Organization = info.Project, info.Stack, info.Organization
		i.Config, i.ConfigSecretKeys = values, secret
		i.RootDirectory = l.world.T.TempDir() // another one for each run
		i.DryRun, i.Parallel = info.DryRun, info.Parallel
		i.MonitorAddr, i.EngineAddr = info.MonitorAddress, l.engine
		run = *i
	})
	doors.Close()
	return "", err != nil, nil // exit status 32: it has been reported
}

// remember makes canaries of every secret in made keys.
func (w *World) remember(text string) {
	var tree any
	if err := json.Unmarshal([]byte(text), &tree); err != nil {
		w.T.Errorf("made keys: %v", err)
		return
	}
	secret := []string{"private", "preshared", "plain", "hash", "gatewayToken"}
	var walk func(name string, node any)
	walk = func(name string, node any) {
		switch v := node.(type) {
		case map[string]any:
			for key, child := range v {
				walk(key, child)
			}
		case string:
			if !slices.Contains(secret, name) {
				return
			}
			if lines := strings.Split(strings.TrimSpace(v), "\n"); len(lines) > 2 {
				v = lines[len(lines)-2] // a PEM in any wrapping; its first lines are every key's
			}
			w.Canaries = append(w.Canaries, v)
		}
	}
	walk("", tree)
}

// Leaks are the places where a secret stands in plain text: in the state, in an event or a message of the run, in its
// error.
func (w *World) Leaks(r *Result) []string {
	where := map[string][]string{"messages": r.Messages, "events": r.Texts, "error": {fmt.Sprint(r.Err)}, "log of what happened": r.Happened}
	if w.State != nil {
		for _, s := range w.State.Resources {
			where["inputs of "+Label(s.URN)] = PlainTexts(s.Inputs)
			where["outputs of "+Label(s.URN)] = PlainTexts(s.Outputs)
			where["id of "+Label(s.URN)] = append([]string{string(s.ID)}, s.InitErrors...)
		}
	}
	var places []string
	for place, texts := range where {
		leaks := func(text string) bool {
			decoded, err := base64.StdEncoding.DecodeString(text)
			return slices.ContainsFunc(w.Canaries, func(canary string) bool {
				return strings.Contains(text, canary) || err == nil && strings.Contains(string(decoded), canary)
			})
		}
		if slices.ContainsFunc(texts, leaks) {
			places = append(places, place)
		}
	}
	slices.Sort(places)
	return places
}

// PlainTexts are all texts in a map of properties that no secret encloses.
func PlainTexts(m resource.PropertyMap) []string {
	var texts []string
	var walk func(v resource.PropertyValue)
	walk = func(v resource.PropertyValue) {
		switch {
		case v.IsSecret(), v.IsOutput() && v.OutputValue().Secret:
		case v.IsOutput():
			walk(v.OutputValue().Element)
		case v.IsString():
			texts = append(texts, v.StringValue())
		case v.IsArray():
			for _, item := range v.ArrayValue() {
				walk(item)
			}
		case v.IsObject():
			for key, item := range v.ObjectValue() {
				texts = append(texts, string(key))
				walk(item)
			}
		}
	}
	walk(resource.NewProperty(m))
	return texts
}

// Made are the stack's keys that were made first, second and so on.
func (w *World) Made(n int) *keys.Stack {
	w.T.Helper()
	if w.Commands.Made < n {
		w.T.Fatalf("%d stacks' keys were made, not %d", w.Commands.Made, n)
	}
	stack := &keys.Stack{} // not parsed: to check a password's hash takes a tenth of a second
	if err := json.Unmarshal([]byte(GeneratedKeys(n)), stack); err != nil {
		w.T.Fatal(err)
	}
	return stack
}

func (w *World) LocalPort() string { return fmt.Sprint(reach.LocalPort(w.project, w.Stack)) }

// Copy is the same world for another test.
func (w *World) Copy(t *testing.T) *World {
	c := New(t, w.Program)
	c.Config, c.Secrets, c.Home = maps.Clone(w.Config), maps.Clone(w.Secrets), w.Home
	c.State, c.Canaries = framework.CloneSnapshot(t, w.State), slices.Clone(w.Canaries)
	c.Azure.Exists, c.Azure.Machine, c.Azure.address = maps.Clone(w.Azure.Exists), w.Azure.Machine, w.Azure.address
	c.Commands.Made = w.Commands.Made
	if w.Guest != nil {
		g := *w.Guest
		g.Layers = map[string]*record{}
		for name, on := range w.Guest.Layers {
			g.Layers[name] = &record{on.Token, on.digest}
		}
		c.Guest = &g
	}
	return c
}
