package azure

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"github.com/pulumi/pulumi/sdk/v3/go/common/util/rpcutil/rpcerror"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"

	"openclaw-azure/lab/internal/attached"
)

// replaceFlag in a resource's inputs says that its name was made for it, so that another can stand beside it.
const replaceFlag = "__createBeforeDelete"

// maxOperation is how long the provider waits for one operation where the program sets no other limit.
const maxOperation = 2 * time.Hour

// run is the provider within one run of the CLI.
type run struct {
	attached.Plugin
	p        *Provider
	location string
}

var _ attached.Run = (*run)(nil)

// Closed needs nothing: what Azure has begun goes on.
func (r *run) Closed() {}

// Configure does not accept secrets: the engine sends plain values and marks the outputs itself.
func (r *run) Configure(_ context.Context, req *pulumirpc.ConfigureRequest) (*pulumirpc.ConfigureResponse, error) {
	r.location = req.GetArgs().GetFields()["location"].GetStringValue()
	return &pulumirpc.ConfigureResponse{SupportsPreview: true, SupportsAutonamingConfiguration: true}, nil
}

func (r *run) Invoke(ctx context.Context, req *pulumirpc.InvokeRequest) (*pulumirpc.InvokeResponse, error) {
	switch req.GetTok() {
	case "azure-native:authorization:getClientConfig":
		return answered(object{"subscriptionId": r.p.subscription(), "tenantId": uuid.Nil.String(), "clientId": uuid.Nil.String(), "objectId": uuid.Nil.String()})
	case "azure-native:authorization:getClientToken":
		return answered(object{"token": r.p.token()})
	}
	k, ok := lookups[req.GetTok()]
	if !ok {
		return nil, labCannot("does not know the function %q", req.GetTok())
	}
	args, err := unmarshal(req.GetArgs())
	if err != nil {
		return nil, err
	}
	id := k.id(r.p.subscription(), args.Mappable())
	outputs, err := r.p.read(ctx, k, id)
	if err != nil {
		return nil, fmt.Errorf("request failed %s: %w", id, err)
	}
	return answered(outputs)
}

func answered(outputs object) (*pulumirpc.InvokeResponse, error) {
	result, err := plugin.MarshalProperties(resource.NewPropertyMapFromMap(outputs), plugin.MarshalOptions{SkipNulls: true})
	return &pulumirpc.InvokeResponse{Return: result}, err
}

func (r *run) Check(_ context.Context, req *pulumirpc.CheckRequest) (*pulumirpc.CheckResponse, error) {
	k, err := kindOf(req.GetUrn())
	if err != nil {
		return nil, err
	}
	olds, err := unmarshal(req.GetOlds())
	if err != nil {
		return nil, err
	}
	news, err := unmarshal(req.GetNews())
	if err != nil {
		return nil, err
	}
	if err := r.complete(k, req, olds, news); err != nil {
		return nil, err
	}
	inputs, err := marshal(news)
	if err != nil {
		return nil, err
	}
	return &pulumirpc.CheckResponse{Inputs: inputs, Failures: missing(k, news)}, nil
}

// Diff compares inputs alone: what became of the resource meanwhile is the business of a refresh.
func (r *run) Diff(_ context.Context, req *pulumirpc.DiffRequest) (*pulumirpc.DiffResponse, error) {
	k, err := kindOf(req.GetUrn())
	if err != nil {
		return nil, err
	}
	state, err := unmarshal(req.GetOlds())
	if err != nil {
		return nil, err
	}
	olds, err := previousInputs(req.GetOldInputs(), state)
	if err != nil {
		return nil, err
	}
	news, err := unmarshal(req.GetNews())
	if err != nil {
		return nil, err
	}
	diff := olds.Diff(news, resource.IsInternalPropertyKey)
	detailed := map[string]*pulumirpc.PropertyDiff{}
	changed, replaced := map[string]bool{}, map[string]bool{}
	for path, change := range plugin.NewDetailedDiffFromObjectDiff(diff, true) {
		top := path
		if i := strings.IndexAny(path, ".["); i > 0 {
			top = path[:i]
		}
		if path == "location" && sameLocation(olds["location"], news["location"]) {
			continue
		}
		changeKind := change.Kind
		if slices.Contains(k.path, top) || slices.Contains(k.replaces, top) {
			changeKind = changeKind.AsReplace()
			replaced[top] = true
		}
		changed[top] = true
		detailed[path] = &pulumirpc.PropertyDiff{Kind: pulumirpc.PropertyDiff_Kind(changeKind), InputDiff: true}
	}
	if len(changed) == 0 {
		return &pulumirpc.DiffResponse{Changes: pulumirpc.DiffResponse_DIFF_NONE}, nil
	}
	deleteFirst := len(replaced) > 0
	if flag, ok := olds[replaceFlag]; ok && flag.IsBool() {
		deleteFirst = !flag.BoolValue()
	}
	return &pulumirpc.DiffResponse{
		Changes: pulumirpc.DiffResponse_DIFF_SOME, Diffs: slices.Sorted(maps.Keys(changed)), Replaces: slices.Sorted(maps.Keys(replaced)),
		DetailedDiff: detailed, HasDetailedDiff: true, DeleteBeforeReplace: deleteFirst,
	}, nil
}

func (r *run) Create(_ context.Context, req *pulumirpc.CreateRequest) (*pulumirpc.CreateResponse, error) {
	k, err := kindOf(req.GetUrn())
	if err != nil {
		return nil, err
	}
	inputs, err := unmarshal(req.GetProperties())
	if err != nil {
		return nil, err
	}
	if req.GetPreview() {
		properties, err := marshal(preview(k, inputs))
		return &pulumirpc.CreateResponse{Properties: properties}, err
	}
	ctx, cancel := r.operation(req.GetTimeout())
	defer cancel()
	body := object(inputs.Mappable())
	id := k.id(r.p.subscription(), body)
	exists, err := r.p.exists(ctx, k, id)
	if err != nil {
		return nil, err
	}
	if exists {
		return nil, fmt.Errorf("cannot create already existing resource '%s'", id)
	}
	for _, name := range k.kept() {
		if !body.has(name) {
			body[name] = []any{}
		}
	}
	outputs, err := r.write(ctx, k, id, body, inputs, req.GetProperties())
	if err != nil {
		return nil, err
	}
	properties, err := checkpoint(k, inputs, outputs)
	return &pulumirpc.CreateResponse{Id: id, Properties: properties}, err
}

func (r *run) Update(_ context.Context, req *pulumirpc.UpdateRequest) (*pulumirpc.UpdateResponse, error) {
	k, err := kindOf(req.GetUrn())
	if err != nil {
		return nil, err
	}
	inputs, err := unmarshal(req.GetNews())
	if err != nil {
		return nil, err
	}
	if req.GetPreview() {
		state, err := unmarshal(req.GetOlds())
		if err != nil {
			return nil, err
		}
		outputs := preview(k, inputs)
		for _, name := range []resource.PropertyKey{"name", "location"} {
			if value, ok := state[name]; ok {
				outputs[name] = value
			}
		}
		properties, err := marshal(outputs)
		return &pulumirpc.UpdateResponse{Properties: properties}, err
	}
	ctx, cancel := r.operation(req.GetTimeout())
	defer cancel()
	body := object(inputs.Mappable())
	id := k.id(r.p.subscription(), body)
	var absent []string
	for _, name := range k.kept() {
		if !body.has(name) {
			absent = append(absent, name)
		}
	}
	if len(absent) > 0 {
		now, err := r.p.read(ctx, k, id)
		if err != nil {
			return nil, fmt.Errorf("failed maintaining unset sub-resource properties: reading cloud state: %w", err)
		}
		for _, name := range absent {
			if now.has(name) {
				body[name] = now[name]
			}
		}
	}
	outputs, err := r.write(ctx, k, id, body, inputs, req.GetNews())
	if err != nil {
		return nil, err
	}
	properties, err := checkpoint(k, inputs, outputs)
	return &pulumirpc.UpdateResponse{Properties: properties}, err
}

// write sends a body and reads back what became of it. An operation that fails after Azure took it on leaves a
// resource, which the engine then keeps and updates next time.
func (r *run) write(ctx context.Context, k *kind, id string, body object, inputs resource.PropertyMap, sent *structpb.Struct) (object, error) {
	begun, err := r.p.put(ctx, k, id, body)
	if err != nil {
		if !begun {
			return nil, err
		}
		detail := &pulumirpc.ErrorResourceInitFailed{Id: id, Reasons: []string{err.Error()}, Inputs: sent}
		// Not with ctx: it may be what ended the operation.
		if outputs, readErr := r.p.read(r.p.ctx, k, id); readErr == nil {
			if detail.Properties, readErr = checkpoint(k, inputs, outputs); readErr != nil {
				return nil, readErr
			}
		}
		return nil, rpcerror.WithDetails(rpcerror.New(codes.Unknown, err.Error()), detail)
	}
	return r.p.read(ctx, k, id)
}

// Read compares what Azure says now with what it said last, and moves the differences into the inputs.
func (r *run) Read(ctx context.Context, req *pulumirpc.ReadRequest) (*pulumirpc.ReadResponse, error) {
	k, err := kindOf(req.GetUrn())
	if err != nil {
		return nil, err
	}
	state, err := unmarshal(req.GetProperties())
	if err != nil {
		return nil, err
	}
	olds, err := previousInputs(req.GetInputs(), state)
	if err != nil {
		return nil, err
	}
	outputs, err := r.p.read(ctx, k, req.GetId())
	if notFound(err) {
		return &pulumirpc.ReadResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	var inputs resource.PropertyMap
	if len(olds) == 0 {
		inputs = imported(k, req.GetId(), outputs)
	} else {
		inputs = refreshed(k, olds, state.Mappable(), outputs)
	}
	properties, err := checkpoint(k, inputs, outputs)
	if err != nil {
		return nil, err
	}
	inputsRecord, err := marshal(inputs)
	if err != nil {
		return nil, err
	}
	return &pulumirpc.ReadResponse{Id: req.GetId(), Properties: properties, Inputs: inputsRecord}, nil
}

func (r *run) Delete(_ context.Context, req *pulumirpc.DeleteRequest) (*emptypb.Empty, error) {
	k, err := kindOf(req.GetUrn())
	if err != nil {
		return nil, err
	}
	ctx, cancel := r.operation(req.GetTimeout())
	defer cancel()
	if err := r.p.delete(ctx, k, req.GetId()); err != nil && !notFound(err) {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

// operation is the context of one operation: it ends when the run is cancelled, not when a connection breaks.
func (r *run) operation(seconds float64) (context.Context, context.CancelFunc) {
	limit := maxOperation
	if seconds > 0 {
		limit = time.Duration(seconds * float64(time.Second))
	}
	return context.WithTimeout(r.Engine.Context(), limit)
}

// checkpoint is a resource's state: what Azure answered, and the inputs as a secret.
func checkpoint(k *kind, inputs resource.PropertyMap, outputs object) (*structpb.Struct, error) {
	state := resource.NewPropertyMapFromMap(outputs)
	state["__inputs"] = resource.MakeSecret(resource.NewProperty(inputs))
	state["azureApiVersion"] = resource.NewProperty(k.apiVersion)
	return plugin.MarshalProperties(state, plugin.MarshalOptions{KeepUnknowns: true, KeepSecrets: true, SkipNulls: true})
}

func previousInputs(sent *structpb.Struct, state resource.PropertyMap) (resource.PropertyMap, error) {
	if sent != nil {
		return unmarshal(sent)
	}
	if inputs := state["__inputs"]; inputs.IsObject() {
		return inputs.ObjectValue(), nil
	}
	return resource.PropertyMap{}, nil
}

func kindOf(urn string) (*kind, error) {
	token := string(resource.URN(urn).Type())
	k, ok := kinds[token]
	if !ok {
		return nil, labCannot("does not know the type %q", token)
	}
	return k, nil
}

func unmarshal(s *structpb.Struct) (resource.PropertyMap, error) {
	return plugin.UnmarshalProperties(s, plugin.MarshalOptions{KeepUnknowns: true, SkipNulls: true})
}

func marshal(m resource.PropertyMap) (*structpb.Struct, error) {
	return plugin.MarshalProperties(m, plugin.MarshalOptions{KeepUnknowns: true, SkipNulls: true})
}
