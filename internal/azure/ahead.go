package azure

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"openclaw-azure/internal/foreign"
	"openclaw-azure/internal/shell"
)

// What the look may take: the login, which the Azure CLI may be started for, and what is asked then.
const (
	loginLimit = 15 * time.Second
	aheadLimit = 5 * time.Second
)

// leastMemory is what OpenClaw wants, in GiB.
const leastMemory = 4

// Asked is what is about to be asked of Azure.
type Asked struct {
	Location, Size string
	Before         string // the size of the machine that is there; empty where one is to be made
	Image          Image  // of the one that is to be made
	Tags           map[string]string
	Watched        bool // an alert of Azure's own is declared, too
}

// Image is a marketplace's, as a whole: its newest version is the one.
type Image struct{ Publisher, Offer, SKU string }

// Objection is something for which Azure would refuse what is asked, with what mends it.
type Objection struct {
	Text     string
	Commands []string
}

// Ahead asks Azure, before the first resource is declared, what it would refuse later, half way through a run that costs money.
// Notes tell what was not asked, and why, and what stops nothing.
//
// subscription is empty for that of the login.
func Ahead(p *pulumi.Context, subscription string, asked Asked) (objections []Objection, notes []string) {
	login, cancel := context.WithTimeout(p.Context(), loginLimit)
	defer cancel()
	m, err := connect(login, p, subscription)
	if err != nil {
		return nil, []string{fmt.Sprintf("what Azure would refuse was not asked: %v", err)}
	}
	ctx, cancel := context.WithTimeout(p.Context(), aheadLimit)
	defer cancel()
	var sizes, policies []Objection
	var doubts, unregistered []string
	var errs [3]error
	var work sync.WaitGroup
	work.Go(func() { sizes, errs[0] = m.size(ctx, asked) })
	work.Go(func() { policies, doubts, errs[1] = m.policies(ctx, asked) })
	work.Go(func() { unregistered, errs[2] = m.providers(ctx, asked) })
	work.Wait()
	notes = append(unregistered, doubts...)
	if err := errors.Join(errs[:]...); err != nil {
		notes = append(notes, fmt.Sprintf("not all that Azure would refuse was asked: %v", err))
	}
	return append(sizes, policies...), notes
}

// sku is a size as Resource Manager lists it; source: Resource Skus - List, 2021-07-01.
type sku struct {
	ResourceType string
	Name         foreign.Text
	Family       foreign.Text
	Capabilities []struct{ Name, Value foreign.Text }
	Restrictions []struct {
		Type       string
		ReasonCode foreign.Text
	}
}

func (s sku) has(name string) string {
	for _, c := range s.Capabilities {
		if c.Name.String() == name {
			return c.Value.String()
		}
	}
	return ""
}

// number is a capability that is one; 0 where it is none.
func (s sku) number(name string) float64 {
	n, err := strconv.ParseFloat(s.has(name), 64)
	if err != nil {
		return 0
	}
	return n
}

func (s sku) cores() int { return int(s.number("vCPUs")) }

const disks = "DiskControllerTypes"

// unfit says why the size cannot have the machine's image, whose disk may have these controllers.
func (s sku) unfit(controllers string) (reasons []string) {
	if generations := s.has("HyperVGenerations"); !strings.Contains(generations, "V2") {
		reasons = append(reasons, fmt.Sprintf("it is of generation %s, and the image is of V2", cmp.Or(generations, "V1")))
	}
	if architecture := s.has("CpuArchitectureType"); architecture != "" && architecture != "x64" {
		reasons = append(reasons, fmt.Sprintf("its processor is %s, and Azure has no run commands but on x64", architecture))
	}
	if memory := s.number("MemoryGB"); memory < leastMemory {
		reasons = append(reasons, fmt.Sprintf("it has %g GiB of memory, and OpenClaw wants %d", memory, leastMemory))
	}
	if strings.EqualFold(s.has("TrustedLaunchDisabled"), "true") {
		reasons = append(reasons, "it has no Trusted Launch")
	}
	own := strings.Split(cmp.Or(s.has(disks), scsi), ",")
	if !slices.ContainsFunc(own, func(one string) bool { return strings.Contains(controllers, strings.TrimSpace(one)) }) {
		reasons = append(reasons, fmt.Sprintf("its disk controller is %s, and the machine's disk can have %s", strings.Join(own, ","), controllers))
	}
	return reasons
}

// restricted says for which reason this subscription does not get the size in this region; empty if it does.
func (s sku) restricted() string {
	for _, r := range s.Restrictions {
		if r.Type == "Location" {
			return r.ReasonCode.String()
		}
	}
	return ""
}

// usage is a quota and what of it is used; source: Usage - List, 2023-03-01.
type usage struct {
	CurrentValue, Limit int
	Name                struct{ Value foreign.Text }
}

// scsi is the disk controller where nothing says another.
const scsi = "SCSI"

// controllers are those that a disk of the image may have, as "SCSI, NVMe"; source: Virtual Machine Images - List and Get, 2023-03-01.
func (m *manager) controllers(ctx context.Context, asked Asked) (string, error) {
	of := asked.Image
	path := fmt.Sprintf("/providers/Microsoft.Compute/locations/%s/publishers/%s/artifacttypes/vmimage/offers/%s/skus/%s/versions", asked.Location, of.Publisher, of.Offer, of.SKU)
	var versions []struct{ Name foreign.Text }
	if err := m.get(ctx, path, "2023-03-01", &versions, "$orderby=name desc", "$top=1"); err != nil {
		return "", err
	}
	if len(versions) == 0 {
		return "", errors.New("there is no version of it")
	}
	var image struct {
		Properties struct {
			Features []struct{ Name, Value foreign.Text }
		}
	}
	if err := m.get(ctx, path+"/"+url.PathEscape(versions[0].Name.String()), "2023-03-01", &image); err != nil {
		return "", err
	}
	for _, feature := range image.Properties.Features {
		if feature.Name.String() == disks {
			return feature.Value.String(), nil
		}
	}
	return scsi, nil
}

// size looks at the size, in this region, with this subscription's quota.
func (m *manager) size(ctx context.Context, asked Asked) ([]Objection, error) {
	var usages []usage
	var work sync.WaitGroup
	var errs [2]error
	controllers, unknown := scsi+", NVMe", error(nil) // of an image that cannot be asked: nothing is objected to
	work.Go(func() {
		usages, errs[0] = list[usage](ctx, m, "/providers/Microsoft.Compute/locations/"+asked.Location+"/usages", "2023-03-01")
	})
	work.Go(func() {
		if asked.Before == "" {
			if of, err := m.controllers(ctx, asked); err == nil {
				controllers = of
			} else {
				unknown = fmt.Errorf("the disk controllers of the image %q: %w", asked.Image.Offer, err)
			}
		}
	})
	skus, err := list[sku](ctx, m, "/providers/Microsoft.Compute/skus", "2021-07-01", "$filter=location eq '"+asked.Location+"'")
	work.Wait()
	errs[1] = err
	if err := errors.Join(errs[:]...); err != nil {
		return nil, fmt.Errorf("the sizes of %q, and the quota: %w", asked.Location, err)
	}
	if !slices.ContainsFunc(skus, func(s sku) bool { return s.ResourceType == "virtualMachines" }) {
		return nil, fmt.Errorf("the sizes of %q: Resource Manager names none", asked.Location)
	}
	return judgeSize(skus, usages, controllers, asked), unknown
}

// judgeSize finds all that is wrong with a size. controllers are those that the image's disk may have, of a machine that is to be made.
func judgeSize(all []sku, usages []usage, controllers string, asked Asked) []Objection {
	sizes := map[string]sku{}
	for _, s := range all {
		if s.ResourceType == "virtualMachines" {
			sizes[strings.ToLower(s.Name.String())] = s
		}
	}
	before := sizes[strings.ToLower(asked.Before)]
	if asked.Before != "" {
		// The disk of a machine keeps its controller: Azure gives SCSI where the size has it.
		controllers = scsi
		if has := before.has(disks); has != "" && !strings.Contains(has, scsi) {
			controllers = has
		}
	}
	// over says which quota a size would exceed; empty if none.
	over := func(s sku) string {
		for _, u := range usages {
			need := s.cores()
			switch name, family := u.Name.Value.String(), s.Family.String(); {
			case strings.EqualFold(name, "cores"), strings.EqualFold(name, family) && before.Family == s.Family:
				need -= before.cores()
			case !strings.EqualFold(name, family):
				continue
			}
			if need > 0 && u.CurrentValue+need > u.Limit {
				return fmt.Sprintf("%q: %d of %d cores are used, and %d more are needed", u.Name.Value, u.CurrentValue, u.Limit, need)
			}
		}
		return ""
	}
	would := func() []string {
		var fit []sku
		for _, s := range sizes {
			if s.unfit(controllers) == nil && s.restricted() == "" && over(s) == "" {
				fit = append(fit, s)
			}
		}
		// The smallest first; of those the B series, which costs least and has the first letter of those that would do.
		slices.SortFunc(fit, func(a, b sku) int {
			return cmp.Or(cmp.Compare(a.cores(), b.cores()), cmp.Compare(a.number("MemoryGB"), b.number("MemoryGB")), cmp.Compare(a.Name.String(), b.Name.String()))
		})
		var commands []string
		for _, s := range fit[:min(3, len(fit))] {
			commands = append(commands, fmt.Sprintf("pulumi config set vmSize %s    # %d cores, %g GiB", shell.Quote(s.Name.String()), s.cores(), s.number("MemoryGB")))
		}
		return append(commands, "az vm list-skus --location "+shell.Quote(asked.Location)+" --resource-type virtualMachines --output table    # all, with their restrictions")
	}
	s, is := sizes[strings.ToLower(asked.Size)]
	if !is {
		return []Objection{{fmt.Sprintf("size %q: there is none in %q", asked.Size, asked.Location), would()}}
	}
	var found []Objection
	if reasons := s.unfit(controllers); reasons != nil {
		found = append(found, Objection{fmt.Sprintf("size %q: %s", asked.Size, strings.Join(reasons, "; ")), would()})
	}
	if reason := s.restricted(); reason != "" {
		found = append(found, Objection{fmt.Sprintf("size %q: this subscription does not get it in %q (%s)", asked.Size, asked.Location, reason), would()})
	}
	if quota := over(s); quota != "" {
		found = append(found, Objection{fmt.Sprintf("size %q: it exceeds this subscription's quota in %q: %s", asked.Size, asked.Location, quota),
			append(would(), "more quota, on request: https://portal.azure.com/#view/Microsoft_Azure_Capacity/QuotaMenuBlade/~/myQuotas")})
	}
	return found
}

// registered are the resource providers without which there is no machine. That of alerts is wanted by who is told by Azure.
var registered = []string{"Microsoft.Compute", "Microsoft.Network", alertsProvider}

const alertsProvider = "Microsoft.Insights"

// providers looks whether the resource providers are registered. Azure's provider registers what is missing by itself, where it may.
func (m *manager) providers(ctx context.Context, asked Asked) (notes []string, err error) {
	for _, name := range registered {
		if name == alertsProvider && !asked.Watched {
			continue
		}
		var provider struct{ RegistrationState foreign.Text }
		if err := m.get(ctx, "/providers/"+name, "2021-04-01", &provider); err != nil {
			return notes, fmt.Errorf("whether %s is registered: %w", name, err)
		}
		if provider.RegistrationState.String() != "Registered" {
			notes = append(notes, fmt.Sprintf("resource provider %q is not registered in this subscription (%s): the run registers it, which may take minutes; where this login may not, somebody who may does it by\naz provider register --namespace %s --wait",
				name, provider.RegistrationState, name))
		}
	}
	return notes, nil
}

// governed are the types of the program's resources that policies are about.
var governed = []struct{ kind, version string }{
	{"Microsoft.Resources/subscriptions/resourceGroups", "2022-09-01"},
	{"Microsoft.Network/networkSecurityGroups", "2023-02-01"},
	{"Microsoft.Network/virtualNetworks", "2023-02-01"},
	{"Microsoft.Network/publicIPAddresses", "2023-02-01"},
	{"Microsoft.Network/networkInterfaces", "2023-02-01"},
	{machineKind, "2023-03-01"},
	{alertsProvider + "/actionGroups", "2023-01-01"},
	{alertsProvider + "/metricAlerts", "2018-03-01"},
}

const machineKind = "Microsoft.Compute/virtualMachines"

// evaluation is what Azure Policy says of a resource that is to be made; source: Policy Restrictions - Check At Subscription
// Scope, 2023-03-01.
type evaluation struct {
	PolicyInfo struct {
		PolicyDefinitionID foreign.Text `json:"policyDefinitionId"`
		PolicyAssignmentID foreign.Text `json:"policyAssignmentId"`
	}
	EvaluationResult  string
	EvaluationDetails struct {
		EvaluatedExpressions []struct{ Path foreign.Text }
	}
	EffectDetails struct{ PolicyEffect string }
}

// policies asks which policies would refuse one of the resources. Who may not ask learns it from the refusal.
func (m *manager) policies(ctx context.Context, asked Asked) (refuse []Objection, doubts []string, err error) {
	evaluations, errs := make([][]evaluation, len(governed)), make([]error, len(governed))
	var work sync.WaitGroup
	for i := range governed {
		if asked.Before != "" && governed[i].kind != machineKind {
			continue // what is there stays as it is
		}
		if strings.HasPrefix(governed[i].kind, alertsProvider+"/") && !asked.Watched {
			continue
		}
		work.Go(func() { evaluations[i], errs[i] = m.evaluate(ctx, governed[i].kind, governed[i].version, asked) })
	}
	work.Wait()
	refuse, doubts = judgePolicies(evaluations, asked.Tags)
	return refuse, doubts, errors.Join(errs...)
}

// evaluate asks what policies say of a resource of a kind.
func (m *manager) evaluate(ctx context.Context, kind, version string, asked Asked) ([]evaluation, error) {
	content := map[string]any{"type": kind, "location": asked.Location, "tags": asked.Tags}
	if kind == machineKind {
		content["properties"] = map[string]any{"hardwareProfile": map[string]any{"vmSize": asked.Size}}
	}
	var answer struct {
		ContentEvaluationResult struct{ PolicyEvaluations []evaluation }
	}
	err := request(ctx, http.MethodPost, m.address("/providers/Microsoft.PolicyInsights/checkPolicyRestrictions", "2023-03-01"), m.token,
		map[string]any{"resourceDetails": map[string]any{"resourceContent": content, "apiVersion": version}}, &answer)
	var no refusal
	if errors.As(err, &no) && (no.status == http.StatusForbidden || no.status == http.StatusNotFound || no.status == http.StatusConflict) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("what policies say of %s: %w", kind, err)
	}
	return answer.ContentEvaluationResult.PolicyEvaluations, nil
}

// sent are the fields that policies are asked about. Of one that wants another field Azure says that it refuses, since it is not there.
var sent = regexp.MustCompile(`(?i)^(type|location|tags\b.*|properties\.hardwareProfile\.vmSize|Microsoft\.Compute/virtualMachines/(sku\.name|hardwareProfile\.vmSize))$`)

// judgePolicies finds the policies that refuse something, each once, and those of which that cannot be told before all of it is
// declared. evaluations are those of the governed kinds, tags those that are set.
func judgePolicies(evaluations [][]evaluation, tags map[string]string) (refuse []Objection, doubts []string) {
	type policy struct {
		kinds, missing []string
		doubtful       bool
	}
	policies := map[string]*policy{}
	for i, of := range evaluations {
		for _, e := range of {
			if e.EvaluationResult != "NonCompliant" || !strings.EqualFold(e.EffectDetails.PolicyEffect, "deny") {
				continue
			}
			id := cmp.Or(e.PolicyInfo.PolicyAssignmentID, e.PolicyInfo.PolicyDefinitionID).String()
			p := policies[id]
			if p == nil {
				p = &policy{}
				policies[id] = p
			}
			p.kinds = append(p.kinds, governed[i].kind)
			p.doubtful = p.doubtful || len(e.EvaluationDetails.EvaluatedExpressions) == 0
			for _, expression := range e.EvaluationDetails.EvaluatedExpressions {
				path := expression.Path.String()
				p.doubtful = p.doubtful || !sent.MatchString(path)
				if tag := tagOf(path); tag != "" && tags[tag] == "" && !slices.Contains(p.missing, tag) {
					p.missing = append(p.missing, tag)
				}
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(policies)) {
		p, look := policies[id], "az resource show --ids "+shell.Quote(id)+"    # what it wants"
		name, kinds := id[strings.LastIndex(id, "/")+1:], strings.Join(p.kinds, ", ")
		if p.doubtful {
			doubts = append(doubts, fmt.Sprintf("policy %q may refuse %s:\n%s", name, kinds, look))
			continue
		}
		var commands []string
		for _, tag := range p.missing {
			commands = append(commands, tagCommand(tag))
		}
		refuse = append(refuse, Objection{fmt.Sprintf("policy %q refuses %s", name, kinds), append(commands, look)})
	}
	return refuse, doubts
}

// tagOf is the tag that a policy's path names, as tags.owner or tags['owner']; empty if it names none.
func tagOf(path string) string {
	rest, is := strings.CutPrefix(path, "tags")
	if !is {
		return ""
	}
	return strings.Trim(rest, ".[]'\"")
}

func tagCommand(tag string) string {
	return "pulumi config set --path " + shell.Quote(shell.ConfigPath("tags", tag)) + " VALUE"
}
