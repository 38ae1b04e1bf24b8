package azure

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/big"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"
)

// limits are what a subscription is not given. They stand in a file that is read at each request: no file, no limit.
type limits struct {
	NotOffered    []string // sizes
	Cores         int      // of all machines; 0: as many as one wants
	NotRegistered []string // resource providers
	RequiredTags  []string // by a policy
}

// requiredTagsPolicy is the assignment that wants the tags.
const requiredTagsPolicy = "/subscriptions/%s/providers/Microsoft.Authorization/policyAssignments/tags-please"

func (p *Provider) limits() (l limits, err error) {
	text, err := os.ReadFile(p.LimitsFile)
	if p.LimitsFile == "" || errors.Is(err, fs.ErrNotExist) {
		return limits{}, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &l)
	}
	if err != nil {
		return limits{}, labCannot("read the limits of the subscription: %v", err)
	}
	return l, nil
}

// missing are the tags that a policy wants of what has them.
func (l limits) missing(k *kind, tags object) []string {
	if k == nil || !slices.Contains(k.outputs, "tags") {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(l.RequiredTags), func(tag string) bool { return tags.has(tag) })
}

// admits refuses what the subscription is not given. The texts are as people quote them.
func (p *Provider) admits(k *kind, id string, body object) error {
	l, err := p.limits()
	if err != nil {
		return err
	}
	namespace, _, _ := strings.Cut(k.arm, "/")
	if slices.Contains(l.NotRegistered, namespace) {
		return refuse(http.StatusConflict, "MissingSubscriptionRegistration",
			"The subscription is not registered to use namespace '%s'. See https://aka.ms/rps-not-found for how to register subscriptions.", namespace)
	}
	if missing := l.missing(k, body.object("tags")); len(missing) > 0 {
		return refuse(http.StatusForbidden, "RequestDisallowedByPolicy",
			`Resource '%s' was disallowed by policy. Policy identifiers: '[{"policyAssignment":{"name":"tags-please","id":"%s"},"policyDefinition":{"name":"tags","id":"/tags"}}]'.`,
			id[strings.LastIndex(id, "/")+1:], fmt.Sprintf(requiredTagsPolicy, p.subscription()))
	}
	if k != virtualMachine {
		return nil
	}
	size := body.text("hardwareProfile.vmSize")
	if slices.Contains(l.NotOffered, size) {
		return refuse(http.StatusConflict, "SkuNotAvailable",
			"The requested VM size for resource 'Following SKUs have failed for Capacity Restrictions: %s' is currently not available in location '%s'. Please try another size or deploy to a different location or different zone. See https://aka.ms/azureskunotavailable for details.", size, body.text("location"))
	}
	if used := p.cores(id); l.Cores > 0 && used+sizes[size].cores > l.Cores {
		return refuse(http.StatusConflict, "OperationNotAllowed",
			"Operation could not be completed as it results in exceeding approved Total Regional Cores quota. Additional details - Deployment Model: Resource Manager, Location: %s, Current Limit: %d, Current Usage: %d, Additional Required: %d.",
			body.text("location"), l.Cores, used, sizes[size].cores)
	}
	return nil
}

// cores are those of all machines but one.
func (p *Provider) cores(but string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, vm := range p.record.ofKind(virtualMachine) {
		if key(vm.ID) != key(but) {
			n += sizes[vm.Spec.text("hardwareProfile.vmSize")].cores
		}
	}
	return n
}

// token is a JSON Web Token as far as it is read: by Resource Manager as a whole, by who is given it to learn whom it is for.
func (p *Provider) token() string {
	claims, _ := json.Marshal(map[string]string{"aud": p.ManagerURL}) // strings alone
	return "e30." + base64.RawURLEncoding.EncodeToString(claims) + "." + p.login
}

// Manager is Resource Manager as the program itself asks it: what the subscription is given. Whoever asks brings
// the token that the provider gives out.
func (p *Provider) Manager() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, of func(*http.Request, limits) any) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer "+p.token() || r.PathValue("subscription") != p.subscription() || r.URL.Query().Get("api-version") == "" {
				answer(w, nil, refuse(http.StatusUnauthorized, "InvalidAuthenticationToken", "The access token is invalid."))
				return
			}
			l, err := p.limits()
			answer(w, of(r, l), err)
		})
	}
	handle("GET /subscriptions/{subscription}/providers/Microsoft.Compute/skus", func(r *http.Request, l limits) any {
		location, _ := strings.CutPrefix(r.URL.Query().Get("$filter"), "location eq ")
		return object{"value": skus(strings.Trim(location, "'"), l)}
	})
	const versions = "GET /subscriptions/{subscription}/providers/Microsoft.Compute/locations/{location}/publishers/{publisher}/artifacttypes/vmimage/offers/{offer}/skus/{sku}/versions"
	of := func(r *http.Request) image {
		return images[r.PathValue("publisher")+":"+r.PathValue("offer")+":"+r.PathValue("sku")]
	}
	handle(versions, func(r *http.Request, _ limits) any {
		if exact := of(r).exact; exact != "" {
			return []object{{"name": exact}}
		}
		return []object{}
	})
	handle(versions+"/{version}", func(r *http.Request, _ limits) any {
		return object{"properties": object{"features": []object{{"name": "IsAcceleratedNetworkSupported", "value": "True"}, {"name": "DiskControllerTypes", "value": of(r).controllers}}}}
	})
	handle("GET /subscriptions/{subscription}/providers/Microsoft.Compute/locations/{location}/usages", func(r *http.Request, l limits) any {
		limit := l.Cores
		if limit == 0 {
			limit = 100
		}
		return object{"value": []object{{"unit": "Count", "currentValue": p.cores(""), "limit": limit, "name": object{"value": "cores", "localizedValue": "Total Regional vCPUs"}}}}
	})
	handle("GET /subscriptions/{subscription}/providers/{namespace}", func(r *http.Request, l limits) any {
		state := "Registered"
		if slices.Contains(l.NotRegistered, r.PathValue("namespace")) {
			state = "NotRegistered"
		}
		return object{"namespace": r.PathValue("namespace"), "registrationState": state}
	})
	handle("POST /subscriptions/{subscription}/providers/Microsoft.PolicyInsights/checkPolicyRestrictions", func(r *http.Request, l limits) any {
		var asked struct {
			ResourceDetails struct {
				ResourceContent struct {
					Type string
					Tags object
				}
			}
		}
		_ = json.NewDecoder(r.Body).Decode(&asked) // nothing asked, nothing restricted
		content, found := asked.ResourceDetails.ResourceContent, []object{}
		if missing := l.missing(kindOfType(content.Type), content.Tags); len(missing) > 0 {
			expressions := []object{{"result": "True", "expression": "type", "path": "type"}}
			for _, tag := range missing {
				expressions = append(expressions, object{"result": "True", "expression": "tags['" + tag + "']", "path": "tags['" + tag + "']", "operator": "Exists"})
			}
			found = append(found, object{"policyInfo": object{"policyAssignmentId": fmt.Sprintf(requiredTagsPolicy, p.subscription())},
				"evaluationResult": "NonCompliant", "evaluationDetails": object{"evaluatedExpressions": expressions}, "effectDetails": object{"policyEffect": "Deny"}})
		}
		return object{"fieldRestrictions": []object{}, "contentEvaluationResult": object{"policyEvaluations": found}}
	})
	return mux
}

// kindOfType finds a kind by Azure's own name of it; nil if the lab has none.
func kindOfType(name string) *kind {
	name = strings.Replace(name, "/subscriptions/resourceGroups", "/resourceGroups", 1)
	for _, k := range kinds {
		if strings.EqualFold(k.arm, name) {
			return k
		}
	}
	return nil
}

// answer gives a value, or a refusal as Resource Manager writes it.
func answer(w http.ResponseWriter, value any, err error) {
	w.Header().Set("Content-Type", "application/json")
	var refused *armError
	if errors.As(err, &refused) {
		w.WriteHeader(refused.Status)
		value = object{"error": object{"code": refused.Code, "message": refused.Message}}
	} else if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_ = json.NewEncoder(w).Encode(value)
}

// skus are the sizes of a region, with what the program reads of them.
func skus(location string, l limits) []object {
	all := []object{}
	for _, name := range slices.Sorted(maps.Keys(sizes)) {
		s, restrictions := sizes[name], []object{}
		if slices.Contains(l.NotOffered, name) {
			restrictions = append(restrictions, object{"type": "Location", "values": []string{location}, "reasonCode": "NotAvailableForSubscription"})
		}
		all = append(all, object{"resourceType": "virtualMachines", "name": name, "family": s.family, "locations": []string{location}, "restrictions": restrictions,
			"capabilities": []object{
				{"name": "vCPUs", "value": fmt.Sprint(s.cores)}, {"name": "MemoryGB", "value": fmt.Sprint(s.memory)},
				{"name": "HyperVGenerations", "value": "V1,V2"}, {"name": "CpuArchitectureType", "value": s.architecture}, {"name": "DiskControllerTypes", "value": s.controllers}}})
	}
	return all
}

// Certificate makes that of a Resource Manager at an address, and writes it to a file for who is to trust it.
func Certificate(file string, address net.IP) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	of := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "the lab's Resource Manager"}, IPAddresses: []net.IP{address},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	signed, err := x509.CreateCertificate(rand.Reader, of, of, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{signed}, PrivateKey: key}, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed}), 0o600)
}
