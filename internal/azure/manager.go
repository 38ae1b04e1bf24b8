package azure

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/pulumi/pulumi-azure-native-sdk/v2/utilities"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"openclaw-azure/internal/foreign"
)

// manager is Azure Resource Manager, asked by REST with the provider's own login: the provider has no function for what a
// subscription allows.
type manager struct {
	endpoint     string // https://management.azure.com
	subscription string
	token        string
}

// endpoints of Resource Manager, by whom a token of its is for. One for anybody else is sent to nobody but them.
var endpoints = map[string]string{
	"management.azure.com":              "https://management.azure.com",
	"management.core.windows.net":       "https://management.azure.com",
	"management.usgovcloudapi.net":      "https://management.usgovcloudapi.net",
	"management.core.usgovcloudapi.net": "https://management.usgovcloudapi.net",
	"management.chinacloudapi.cn":       "https://management.chinacloudapi.cn",
	"management.core.chinacloudapi.cn":  "https://management.chinacloudapi.cn",
}

// answerLimit bounds what Resource Manager may say: the sizes of a region are some MB.
const answerLimit = 64 << 20

// connect takes the provider's login. That runs the Azure CLI, where it is the CLI's.
func connect(ctx context.Context, p *pulumi.Context, subscription string) (*manager, error) {
	var token struct {
		Token string `pulumi:"token"`
	}
	var client struct {
		SubscriptionID string `pulumi:"subscriptionId"`
	}
	client.SubscriptionID = subscription
	done := make(chan error, 1)
	go func() {
		err := invoke(p, "azure-native:authorization:getClientToken", &token)
		if err == nil && subscription == "" {
			err = invoke(p, "azure-native:authorization:getClientConfig", &client)
		}
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			return nil, err
		}
	case <-ctx.Done():
		return nil, errors.New("the login took too long")
	}
	address, err := endpoint(token.Token)
	return &manager{address, client.SubscriptionID, token.Token}, err
}

// invoke calls a function of the provider's that takes no argument.
func invoke(p *pulumi.Context, token string, into any) error {
	return foreign.Err(p.Invoke(token, &struct{}{}, into, utilities.PkgInvokeDefaultOpts(nil)...))
}

// endpoint is the Resource Manager that a token is for, as it says itself (its claim aud): it is sent to no other.
func endpoint(token string) (string, error) {
	var claims struct {
		Audience string `json:"aud"`
	}
	parts := strings.Split(token, ".")
	if len(parts) == 3 {
		if payload, err := base64.RawURLEncoding.DecodeString(parts[1]); err == nil {
			_ = json.Unmarshal(payload, &claims) // then it is for nobody
		}
	}
	audience, err := url.Parse(claims.Audience)
	if err != nil || audience.Scheme != "https" || audience.Host == "" {
		return "", errors.New("the login's token does not say whom it is for")
	}
	if known, is := endpoints[audience.Host]; is {
		return known, nil
	}
	return "https://" + audience.Host, nil
}

// address of something of the subscription's. options are OData's, as $filter=...
func (m *manager) address(path, version string, options ...string) string {
	query := url.Values{"api-version": {version}}
	for _, option := range options {
		name, value, _ := strings.Cut(option, "=")
		query.Set(name, value)
	}
	return m.endpoint + "/subscriptions/" + m.subscription + path + "?" + query.Encode()
}

// get reads something of the subscription's.
func (m *manager) get(ctx context.Context, path, version string, into any, options ...string) error {
	return request(ctx, http.MethodGet, m.address(path, version, options...), m.token, nil, into)
}

// mostPages bounds what a list may have.
const mostPages = 50

// list reads a list, page by page.
func list[T any](ctx context.Context, m *manager, path, version string, options ...string) (all []T, err error) {
	next := m.address(path, version, options...)
	for range mostPages {
		var page struct {
			Value    []T
			NextLink string
		}
		if err := request(ctx, http.MethodGet, next, m.token, nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Value...)
		if next = page.NextLink; next == "" {
			return all, nil
		}
		if !strings.HasPrefix(next, m.endpoint+"/") {
			return nil, errors.New("the next page of a list is somewhere else")
		}
	}
	return nil, fmt.Errorf("a list of more than %d pages", mostPages)
}

// refusal is an answer that is none.
type refusal struct {
	status int
	code   foreign.Text
}

func (e refusal) Error() string {
	return fmt.Sprintf("Resource Manager answers %d %s", e.status, e.code)
}

// request asks, and reads the answer. No error has the token.
func request(ctx context.Context, method, address, token string, body, into any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(text))
	if err != nil {
		return err
	}
	if body == nil {
		req.Body, req.ContentLength = http.NoBody, 0
	} else {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return foreign.Err(err) // whoever answers has words in it, as the names of a certificate
	}
	defer answer.Body.Close()
	said, err := io.ReadAll(io.LimitReader(answer.Body, answerLimit))
	if err != nil {
		return err
	}
	if answer.StatusCode/100 != 2 {
		var fault struct {
			Error struct {
				Code foreign.Text `json:"code"`
			} `json:"error"`
		}
		_ = json.Unmarshal(said, &fault) // a proxy's answer has no code
		return refusal{answer.StatusCode, fault.Error.Code}
	}
	if err := json.Unmarshal(said, into); err != nil {
		return fmt.Errorf("read the answer of %s: %w", req.URL.Host, foreign.Err(err))
	}
	return nil
}
