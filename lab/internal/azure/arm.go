package azure

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// armError is an answer of Azure's that refuses, as the provider prints it.
type armError struct {
	Status     int
	Code       string
	Message    string
	RetryAfter time.Duration
}

var _ error = (*armError)(nil)

func (e *armError) Error() string {
	return fmt.Sprintf(`Status=%d Code="%s" Message="%s"`, e.Status, e.Code, e.Message)
}

func refuse(status int, code, format string, args ...any) error {
	return &armError{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

func badRequest(code, format string, args ...any) error {
	return refuse(http.StatusBadRequest, code, format, args...)
}

func notFound(err error) bool {
	var refused *armError
	return errors.As(err, &refused) && refused.Status == http.StatusNotFound
}

// retried says whether the provider sends a request again that was answered so.
func (e *armError) retried() bool {
	switch e.Status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	case http.StatusConflict:
		return e.Code == "AnotherOperationInProgress"
	}
	return false
}

func (p *Provider) subscription() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.record.Subscription
}

// send makes a request, again where Azure asks for that.
func (p *Provider) send(ctx context.Context, method string, k *kind, id string, request func() error) error {
	err := p.once(ctx, method, k, id, request)
	for _, wait := range p.retries {
		var refused *armError
		if !errors.As(err, &refused) || !refused.retried() {
			break
		}
		if refused.RetryAfter > 0 {
			wait = min(refused.RetryAfter, 120*time.Second)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
		err = p.once(ctx, method, k, id, request)
	}
	return err
}

func (p *Provider) once(ctx context.Context, method string, k *kind, id string, request func() error) error {
	err := p.fault(ctx, method, k)
	if err == nil {
		err = request()
	}
	if method != http.MethodGet {
		outcome := "done"
		if err != nil {
			outcome = err.Error()
		}
		p.Log.Printf("%s %s: %s", method, id, outcome)
	}
	return err
}

func (p *Provider) exists(ctx context.Context, k *kind, id string) (bool, error) {
	_, err := p.read(ctx, k, id)
	if notFound(err) {
		return false, nil
	}
	return err == nil, err
}

// read is GET: what Azure says of a resource, in the shape of the provider's outputs.
func (p *Provider) read(ctx context.Context, k *kind, id string) (object, error) {
	var outputs object
	err := p.send(ctx, http.MethodGet, k, id, func() error {
		p.mu.Lock()
		defer p.mu.Unlock()
		if err := p.lookBeneath(ctx, k, id); err != nil {
			return err
		}
		r := p.record.get(id)
		if r == nil || r.Kind != k.token {
			return p.absent(p.record.Resources, k, id)
		}
		outputs = render(p.record.Resources, r)
		return nil
	})
	return outputs, err
}

// lookBeneath forgets the machine that a request is about, itself or as a parent, if it is gone beneath Azure.
func (p *Provider) lookBeneath(ctx context.Context, k *kind, id string) error {
	if k == runCommand {
		id = id[:strings.LastIndex(id, "/runCommands/")]
	}
	if r := p.record.get(id); r != nil && r.Kind == virtualMachine.token {
		return p.forgetIfGone(ctx, r)
	}
	return nil
}

// put is PUT. Begun says that Azure took the operation on, so that a resource is there although it failed.
func (p *Provider) put(ctx context.Context, k *kind, id string, body object) (begun bool, err error) {
	err = p.send(ctx, http.MethodPut, k, id, func() error {
		p.mu.Lock()
		err := p.lookBeneath(ctx, k, id)
		p.mu.Unlock()
		if err == nil {
			err = p.admits(k, id, body)
		}
		if err != nil {
			return err
		}
		switch k {
		case virtualMachine:
			begun, err = p.putMachine(ctx, id, body)
		case runCommand:
			begun, err = p.putRunCommand(ctx, id, body)
		default:
			err = p.alone(groupAtWork(k, id, body), func() error {
				return p.change(ctx, func(c *change) error { return c.put(k, id, body) })
			})
		}
		return err
	})
	return begun, err
}

// groupAtWork is the security group that a write concerns; empty if none.
func groupAtWork(k *kind, id string, body object) string {
	switch k {
	case networkSecurityGroup:
		return id
	case securityRule:
		return id[:strings.LastIndex(id, "/securityRules/")]
	case subnet, networkInterface:
		return body.object("networkSecurityGroup").text("id")
	}
	return ""
}

// settling is how long a security group is at work after a write that concerns it.
const settling = 150 * time.Millisecond

// alone makes a write that concerns a security group, which takes one at a time: Azure refuses another meanwhile. The write ends
// when the group has settled, as the provider waits for.
func (p *Provider) alone(group string, write func() error) error {
	if group == "" {
		return write()
	}
	p.mu.Lock()
	if p.settling[key(group)] {
		p.mu.Unlock()
		return refuse(http.StatusTooManyRequests, "RetryableErrorDueToAnotherOperation",
			"Operation on resource %s is being retried because another operation on this or a dependent resource is in progress.", group)
	}
	p.settling[key(group)] = true
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.settling, key(group))
	}()
	err := write()
	if err == nil {
		time.Sleep(settling)
	}
	return err
}

func (p *Provider) delete(ctx context.Context, k *kind, id string) error {
	return p.send(ctx, http.MethodDelete, k, id, func() error {
		switch k {
		case resourceGroup:
			return p.deleteGroup(ctx, id)
		case virtualMachine:
			return p.deleteMachine(ctx, id)
		case runCommand:
			return p.deleteRunCommand(ctx, id)
		}
		return p.alone(groupAtWork(k, id, nil), func() error {
			return p.change(ctx, func(c *change) error { return c.delete(k, id) })
		})
	})
}

// change is one request's work on the record: on a copy, which takes the record's place once the rules that follow
// from it are in force.
type change struct {
	p         *Provider
	ctx       context.Context
	resources map[string]*stored
	// undo gives back what the change took from the fabric; done is what it takes from it once it is sure.
	undo, done []func() error
}

func (p *Provider) change(ctx context.Context, work func(*change) error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changeLocked(ctx, work)
}

func (p *Provider) changeLocked(ctx context.Context, work func(*change) error) error {
	c := &change{p: p, ctx: ctx, resources: maps.Clone(p.record.Resources)}
	err := work(c)
	if err == nil {
		err = p.enforce(ctx, c.resources)
	}
	if err != nil {
		for _, undo := range c.undo {
			if undoErr := undo(); undoErr != nil {
				err = fmt.Errorf("%w; then %w", err, undoErr)
			}
		}
		return err
	}
	p.record.Resources = c.resources
	if err := p.record.save(); err != nil {
		return err
	}
	for _, done := range c.done {
		if err := done(); err != nil {
			return err
		}
	}
	return nil
}

func (c *change) get(id string) *stored { return c.resources[key(id)] }

// put makes or replaces a resource that Azure makes at once.
func (c *change) put(k *kind, id string, body object) error {
	if err := c.parents(k, id); err != nil {
		return err
	}
	if err := checkName(k, id); err != nil {
		return err
	}
	old := c.get(id)
	body = bodyOf(k, body)
	if k.located && k != resourceGroup && body.text("location") == "" {
		return badRequest("LocationRequired", "The location property is required for this definition.")
	}
	if old != nil && k.located && location(old.Spec.text("location")) != location(body.text("location")) {
		return refuse(http.StatusConflict, "InvalidResourceLocation",
			"The resource '%s' already exists in location '%s' in resource group '%s'. A resource with the same name cannot be created in location '%s'. Please select a new resource name.",
			old.Name, old.Spec.text("location"), k.pathOf(id).text("resourceGroupName"), body.text("location"))
	}
	r := c.fresh(k, id, old, body)
	if err := c.check(k, r, old); err != nil {
		return err
	}
	c.resources[key(id)] = r
	for name, child := range k.children {
		if err := c.putChildren(k, r, child, body.objects(name)); err != nil {
			return err
		}
	}
	return nil
}

// fresh is the resource that a request asks for, with what stays of the one that it replaces.
func (c *change) fresh(k *kind, id string, old *stored, body object) *stored {
	r := &stored{ID: id, Kind: k.token, Name: id[strings.LastIndex(id, "/")+1:]}
	if old != nil {
		r = old.clone()
	} else {
		c.p.record.Numbers++
		r.Number = c.p.record.Numbers
		r.GUID = uuid.NewString()
	}
	r.Spec = body.clone()
	for name := range k.children {
		delete(r.Spec, name)
	}
	r.ETag = fmt.Sprintf(`W/"%s"`, uuid.NewString())
	r.ProvisioningState = "Succeeded"
	return r
}

// putChildren makes an array's elements the only children of their kind. A rule that stands in no array and was made
// by itself goes that way: inline and standalone rules delete each other.
func (c *change) putChildren(k *kind, parent *stored, child *kind, wanted []object) error {
	keep := map[string]bool{}
	for _, element := range wanted {
		name := element.text("name")
		if name == "" {
			return badRequest("InvalidRequestFormat", "Cannot parse the request.")
		}
		id := parent.ID + "/" + child.label() + "/" + name
		keep[key(id)] = true
		if now := c.get(id); now != nil && same(render(c.resources, now), element) {
			continue
		}
		if err := c.put(child, id, element); err != nil {
			return err
		}
	}
	for _, r := range under(c.resources, parent.ID) {
		if r.Kind == child.token && !keep[key(r.ID)] {
			if err := c.delete(child, r.ID); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *change) delete(k *kind, id string) error {
	r := c.get(id)
	if r == nil {
		return c.p.absent(c.resources, k, id)
	}
	if err := c.checkDelete(k, r); err != nil {
		return err
	}
	for _, child := range k.children {
		for _, s := range under(c.resources, id) {
			if s.Kind == child.token {
				delete(c.resources, key(s.ID))
			}
		}
	}
	delete(c.resources, key(id))
	return nil
}

// deleteGroup deletes all that is in a group, in the order in which nothing is in use.
func (p *Provider) deleteGroup(ctx context.Context, id string) error {
	for _, k := range []*kind{virtualMachine, networkInterface, publicIPAddress, virtualNetwork, networkSecurityGroup} {
		p.mu.Lock()
		found := p.record.ofKind(k)
		p.mu.Unlock()
		for _, r := range found {
			if !strings.HasPrefix(key(r.ID), key(id)+"/") {
				continue
			}
			var err error
			if k == virtualMachine {
				err = p.deleteMachine(ctx, r.ID)
			} else {
				err = p.change(ctx, func(c *change) error { return c.delete(k, r.ID) })
			}
			if err != nil && !notFound(err) {
				return err
			}
		}
	}
	return p.change(ctx, func(c *change) error {
		for _, r := range under(c.resources, id) { // disks that no machine took with it
			delete(c.resources, key(r.ID))
		}
		return c.delete(resourceGroup, id)
	})
}

var (
	groupName    = regexp.MustCompile(`^[-\w.()]{0,89}[-\w()]$`)
	networkName  = regexp.MustCompile(`^\w([-\w.]{0,78}\w)?$`)
	computerRule = regexp.MustCompile(`^[^_\W]([-\w.]{0,78}\w)?$`)
)

// checkName refuses names. The texts are from memory of public reports.
func checkName(k *kind, id string) error {
	name := id[strings.LastIndex(id, "/")+1:]
	switch {
	case k == resourceGroup:
		if !groupName.MatchString(name) {
			return badRequest("InvalidResourceGroup",
				"The provided resource group name '%s' is not valid. The name can only be a letter, digit, '-', '.', '(', ')' or '_', and may not end with '.'.", name)
		}
	case strings.HasPrefix(k.arm, "Microsoft.Network/"):
		if !networkName.MatchString(name) {
			return badRequest("InvalidResourceName",
				"Resource name %s is invalid. The name can be up to 80 characters long. It must begin with a word character, and it must end with a word character or with '_'. The name may contain word characters or '.', '-', '_'.", name)
		}
	default:
		if !computerRule.MatchString(name) {
			return badRequest("InvalidParameter",
				"The entity name '%s' is invalid according to its validation rule: ^[^_\\W][\\w-._]{0,79}(?<![-.])$.", k.name())
		}
	}
	return nil
}

// parents refuses what stands in nothing.
func (c *change) parents(k *kind, id string) error {
	path := k.pathOf(id)
	group := resourceGroup.id(c.p.record.Subscription, path)
	if k != resourceGroup && c.get(group) == nil {
		return noGroup(path)
	}
	if len(k.path) < 3 {
		return nil
	}
	parent := id[:strings.LastIndex(id[:strings.LastIndex(id, "/")], "/")]
	if c.get(parent) == nil {
		return refuse(http.StatusNotFound, "ParentResourceNotFound",
			"Can not perform requested operation on nested resource. Parent resource '%s' not found.", path.text(k.path[1]))
	}
	return nil
}

func noGroup(path object) error {
	return refuse(http.StatusNotFound, "ResourceGroupNotFound", "Resource group '%s' could not be found.",
		path.text("resourceGroupName"))
}

// absent is Azure's answer for a resource that is not there.
func (p *Provider) absent(resources map[string]*stored, k *kind, id string) error {
	path := k.pathOf(id)
	group := resourceGroup.id(p.record.Subscription, path)
	if resources[key(group)] == nil {
		return noGroup(path)
	}
	var names []string
	for _, input := range k.path[1:] {
		names = append(names, path.text(input))
	}
	return refuse(http.StatusNotFound, "ResourceNotFound",
		"The Resource '%s/%s' under resource group '%s' was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix",
		k.arm, strings.Join(names, "/"), path.text("resourceGroupName"))
}

// bodyOf leaves out of a request what is no part of its body.
func bodyOf(k *kind, inputs object) object {
	body := object{}
	for name, value := range inputs {
		if strings.HasPrefix(name, "__") || name == "id" || slices.Contains(k.path, name) || slices.Contains(k.readOnly, name) || value == nil {
			continue
		}
		body[name] = cloneValue(value)
	}
	return body
}
