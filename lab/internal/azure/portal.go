package azure

import "context"

// Somebody else uses the subscription too: these are a person's ways in at the portal, past every Pulumi program.

// Put makes or changes a resource. Inputs are named as the provider's are, the path among them; the id comes back.
func (p *Provider) Put(ctx context.Context, token string, inputs map[string]any) (string, error) {
	k, ok := kinds[token]
	if !ok {
		return "", labCannot("does not know the type %q", token)
	}
	id := k.id(p.subscription(), inputs)
	_, err := p.put(ctx, k, id, inputs)
	return id, err
}

// Delete deletes a resource.
func (p *Provider) Delete(ctx context.Context, token, id string) error {
	k, ok := kinds[token]
	if !ok {
		return labCannot("does not know the type %q", token)
	}
	return p.delete(ctx, k, id)
}

// Resources lists what there is by id, each with its type; disks too, which have none.
func (p *Provider) Resources() map[string]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	found := map[string]string{}
	for _, r := range p.record.Resources {
		found[r.ID] = r.Kind
	}
	return found
}
