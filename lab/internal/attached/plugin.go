package attached

import (
	"context"
	"fmt"

	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/protobuf/types/known/emptypb"
)

// Plugin answers what an engine asks of every plugin. Providers embed it, and answer the rest.
type Plugin struct {
	pulumirpc.UnimplementedResourceProviderServer
	Engine        *Engine
	Name, Version string
}

var _ pulumirpc.ResourceProviderServer = (*Plugin)(nil)

// Attach is the engine's: it says where it takes log messages.
func (p *Plugin) Attach(_ context.Context, req *pulumirpc.PluginAttach) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, p.Engine.Attach(req.GetAddress())
}

// Cancel is the engine's: its user interrupted it, or it ends.
func (p *Plugin) Cancel(context.Context, *emptypb.Empty) (*emptypb.Empty, error) {
	p.Engine.Cancel()
	return &emptypb.Empty{}, nil
}

// GetPluginInfo tells the release.
func (p *Plugin) GetPluginInfo(context.Context, *emptypb.Empty) (*pulumirpc.PluginInfo, error) {
	return &pulumirpc.PluginInfo{Version: p.Version}, nil
}

// GetSchema tells no more of the schema than what it is of.
func (p *Plugin) GetSchema(context.Context, *pulumirpc.GetSchemaRequest) (*pulumirpc.GetSchemaResponse, error) {
	return &pulumirpc.GetSchemaResponse{Schema: fmt.Sprintf(`{"name":%q,"version":%q}`, p.Name, p.Version)}, nil
}

// CheckConfig takes every configuration of the provider.
func (p *Plugin) CheckConfig(_ context.Context, req *pulumirpc.CheckRequest) (*pulumirpc.CheckResponse, error) {
	return &pulumirpc.CheckResponse{Inputs: req.GetNews()}, nil
}

// DiffConfig finds no difference that would matter to resources.
func (p *Plugin) DiffConfig(context.Context, *pulumirpc.DiffRequest) (*pulumirpc.DiffResponse, error) {
	return &pulumirpc.DiffResponse{Changes: pulumirpc.DiffResponse_DIFF_NONE}, nil
}
