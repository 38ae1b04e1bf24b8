// Package command answers for command:local:Command and command:remote:Command as pulumi-command v1.2.1 does, with
// its traps: a program that works with this one should have no surprise with that one. Copies of files, assets and
// archives are not there.
package command

import (
	"context"
	"fmt"
	"net"
	"os"
	"sort"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"

	"openclaw-azure/lab/internal/attached"
)

// Version is the release whose behaviour this follows.
const Version = "1.2.1"

const (
	localType  = "command:local:Command"
	remoteType = "command:remote:Command"
)

// Serve answers engines on l until ctx ends. An engine that started the server itself gives its address.
func Serve(ctx context.Context, l net.Listener, engineAddress string) error {
	return attached.Serve(ctx, l, engineAddress, func(e *attached.Engine) attached.Run {
		return &run{Plugin: attached.Plugin{Engine: e, Name: "command", Version: Version}}
	})
}

// run is the provider within one run of the CLI.
type run struct {
	attached.Plugin

	busy sync.WaitGroup

	mu sync.Mutex
	// conns are the connections that commands opened: a plugin never closes them, its end does.
	conns []net.Conn
	// groups are the process groups of local commands: the CLI ends what is left of them with the plugin.
	groups []int
}

var _ attached.Run = (*run)(nil)

// Closed does what the end of a plugin's process does. An engine that was killed leaves its plugin behind: what runs
// then runs to its end.
func (r *run) Closed() {
	if r.Engine.Cancelled() {
		r.end()
		return
	}
	go func() {
		r.busy.Wait()
		r.end()
	}()
}

func (r *run) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, conn := range r.conns {
		_ = conn.Close()
	}
	for _, group := range r.groups {
		_ = syscall.Kill(-group, syscall.SIGKILL)
	}
	r.conns, r.groups = nil, nil
}

func (r *run) Configure(context.Context, *pulumirpc.ConfigureRequest) (*pulumirpc.ConfigureResponse, error) {
	return &pulumirpc.ConfigureResponse{AcceptSecrets: true, SupportsPreview: true, AcceptResources: true}, nil
}

func (r *run) Check(_ context.Context, req *pulumirpc.CheckRequest) (*pulumirpc.CheckResponse, error) {
	news, err := unmarshal(req.GetNews())
	if err != nil {
		return nil, err
	}
	var failures []*pulumirpc.CheckFailure
	switch kind := typeOf(req.GetUrn()); kind {
	case remoteType:
		news, failures = checkRemote(news)
	case localType:
		_, failures = decodeLocal(news)
	default:
		return nil, unknownType(kind)
	}
	inputs, err := marshal(news)
	if err != nil {
		return nil, err
	}
	return &pulumirpc.CheckResponse{Inputs: inputs, Failures: failures}, nil
}

// Diff compares inputs. Triggers alone replace; connection is a secret as a whole and so differs as a whole.
func (r *run) Diff(_ context.Context, req *pulumirpc.DiffRequest) (*pulumirpc.DiffResponse, error) {
	news, err := unmarshal(req.GetNews())
	if err != nil {
		return nil, err
	}
	olds, err := unmarshal(req.GetOldInputs())
	if err != nil {
		return nil, err
	}
	if req.GetOldInputs() == nil {
		if olds, err = unmarshal(req.GetOlds()); err != nil {
			return nil, err
		}
		delete(olds, "stdout")
		delete(olds, "stderr")
	}
	for _, path := range req.GetIgnoreChanges() {
		if old, ok := olds[resource.PropertyKey(path)]; ok {
			news[resource.PropertyKey(path)] = old
		}
	}
	diff := olds.Diff(news, resource.IsInternalPropertyKey)
	resp := &pulumirpc.DiffResponse{Changes: pulumirpc.DiffResponse_DIFF_NONE, HasDetailedDiff: true}
	if !diff.AnyChanges() {
		return resp, nil
	}
	resp.Changes = pulumirpc.DiffResponse_DIFF_SOME
	resp.DetailedDiff = map[string]*pulumirpc.PropertyDiff{}
	for path, change := range plugin.NewDetailedDiffFromObjectDiff(diff, false) {
		kind := change.Kind
		if path == "triggers" {
			kind = kind.AsReplace()
		}
		if kind.IsReplace() {
			resp.Replaces = append(resp.Replaces, path)
		}
		resp.Diffs = append(resp.Diffs, path)
		resp.DetailedDiff[path] = &pulumirpc.PropertyDiff{Kind: pulumirpc.PropertyDiff_Kind(kind)}
	}
	sort.Strings(resp.Diffs)
	return resp, nil
}

func (r *run) Create(ctx context.Context, req *pulumirpc.CreateRequest) (*pulumirpc.CreateResponse, error) {
	inputs, err := unmarshal(req.GetProperties())
	if err != nil {
		return nil, err
	}
	if req.GetPreview() {
		state := inputs.Copy()
		state["stdout"] = resource.MakeComputed(resource.NewProperty(""))
		state["stderr"] = resource.MakeComputed(resource.NewProperty(""))
		properties, err := marshal(state)
		return &pulumirpc.CreateResponse{Properties: properties}, err
	}
	name := resource.URN(req.GetUrn()).Name()
	id, err := resource.NewUniqueHex(name, 8, 0)
	if err != nil {
		return nil, err
	}
	out, err := r.execute(ctx, req.GetUrn(), inputs, output{}, req.GetTimeout(), "create")
	if err != nil {
		return nil, err
	}
	properties, err := marshal(out.addTo(inputs))
	return &pulumirpc.CreateResponse{Id: id, Properties: properties}, err
}

func (r *run) Update(ctx context.Context, req *pulumirpc.UpdateRequest) (*pulumirpc.UpdateResponse, error) {
	olds, err := unmarshal(req.GetOlds())
	if err != nil {
		return nil, err
	}
	inputs, err := unmarshal(req.GetNews())
	if err != nil {
		return nil, err
	}
	previous := previousOutput(olds)
	if req.GetPreview() {
		state := previous.addTo(inputs)
		if changes(olds, inputs) {
			state["stdout"] = resource.MakeComputed(state["stdout"])
			state["stderr"] = resource.MakeComputed(state["stderr"])
		}
		properties, err := marshal(state)
		return &pulumirpc.UpdateResponse{Properties: properties}, err
	}
	out, err := r.execute(ctx, req.GetUrn(), inputs, previous, req.GetTimeout(), "update", "create")
	if err != nil {
		return nil, err
	}
	properties, err := marshal(out.addTo(inputs))
	return &pulumirpc.UpdateResponse{Properties: properties}, err
}

func (r *run) Delete(ctx context.Context, req *pulumirpc.DeleteRequest) (*emptypb.Empty, error) {
	state, err := unmarshal(req.GetProperties())
	if err != nil {
		return nil, err
	}
	_, err = r.execute(ctx, req.GetUrn(), state, previousOutput(state), req.GetTimeout(), "delete")
	if err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

// Read looks at nothing: no host is asked, whatever became of it.
func (r *run) Read(_ context.Context, req *pulumirpc.ReadRequest) (*pulumirpc.ReadResponse, error) {
	return &pulumirpc.ReadResponse{Id: req.GetId(), Properties: req.GetProperties(), Inputs: req.GetInputs()}, nil
}

// execute runs the first of the named commands that is set; with none it is done at once, without a connection.
func (r *run) execute(ctx context.Context, urn string, inputs resource.PropertyMap, previous output, timeout float64,
	which ...string,
) (output, error) {
	r.busy.Add(1)
	defer r.busy.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.Engine.Context(), cancel)()
	if timeout > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, time.Duration(timeout*float64(time.Second)))
		defer stop()
	}
	kind := typeOf(urn)
	switch kind {
	case remoteType:
		in, failures := decodeRemote(inputs)
		if len(failures) > 0 {
			return output{}, failed(failures)
		}
		if text, ok := in.text(which); ok {
			return r.remote(ctx, urn, in, text, previous)
		}
	case localType:
		in, failures := decodeLocal(inputs)
		if len(failures) > 0 {
			return output{}, failed(failures)
		}
		if text, ok := in.text(which); ok {
			return r.local(ctx, urn, in, text, previous)
		}
	default:
		return output{}, unknownType(kind)
	}
	return previous, nil
}

// changes says whether a preview may not promise the old output: an input is unknown, or differs from what the state
// holds of it. One that the state does not have yet is not looked at, as in the real provider.
func changes(olds, news resource.PropertyMap) bool {
	for key, value := range news {
		old, had := olds[key]
		if value.ContainsUnknowns() || had && !plain(old).DeepEquals(plain(value)) {
			return true
		}
	}
	for key := range olds {
		if key == "stdout" || key == "stderr" || resource.IsInternalPropertyKey(key) {
			continue
		}
		if _, still := news[key]; !still {
			return true
		}
	}
	return false
}

func typeOf(urn string) string { return string(resource.URN(urn).Type()) }

func unknownType(kind string) error {
	return status.Errorf(codes.InvalidArgument, "the lab's command provider does not know %q", kind)
}

func failed(failures []*pulumirpc.CheckFailure) error {
	var reasons []string
	for _, failure := range failures {
		reasons = append(reasons, failure.GetProperty()+": "+failure.GetReason())
	}
	return fmt.Errorf("inputs do not fit: %s", strings.Join(reasons, "; "))
}

// plain is a value without its secrets' wrapping.
func plain(v resource.PropertyValue) resource.PropertyValue {
	switch {
	case v.IsSecret():
		return plain(v.SecretValue().Element)
	case v.IsObject():
		object := resource.PropertyMap{}
		for key, value := range v.ObjectValue() {
			object[key] = plain(value)
		}
		return resource.NewProperty(object)
	case v.IsArray():
		array := make([]resource.PropertyValue, 0, len(v.ArrayValue()))
		for _, value := range v.ArrayValue() {
			array = append(array, plain(value))
		}
		return resource.NewProperty(array)
	}
	return v
}

func unmarshal(s *structpb.Struct) (resource.PropertyMap, error) {
	return plugin.UnmarshalProperties(s, plugin.MarshalOptions{
		KeepUnknowns: true, KeepSecrets: true, KeepResources: true, SkipNulls: true,
	})
}

func marshal(m resource.PropertyMap) (*structpb.Struct, error) {
	return plugin.MarshalProperties(m, plugin.MarshalOptions{
		KeepUnknowns: true, KeepSecrets: true, KeepResources: true, SkipNulls: true,
	})
}

// workingDirectory is where local commands run that name no other.
func workingDirectory(dir *string) (string, error) {
	if dir != nil {
		return *dir, nil
	}
	return os.Getwd()
}
