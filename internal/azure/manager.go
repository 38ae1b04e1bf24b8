package azure

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/pulumi/pulumi-azure-native-sdk/v2/utilities"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// manager is Azure Resource Manager, asked by REST with the provider's own login: the provider has no function for what a
// subscription allows.
type manager struct {
	endpoint     string // https://management.azure.com
	subscription string
	token        string
}

// endpoints of Resource Manager, by the provider's setting `environment`.
var endpoints = map[string]string{
	"":             "https://management.azure.com",
	"public":       "https://management.azure.com",
	"usgovernment": "https://management.usgovcloudapi.net",
	"china":        "https://management.chinacloudapi.cn",
}

// answerLimit bounds what Resource Manager may say: the sizes of a region are some MB.
const answerLimit = 64 << 20

// connect finds Resource Manager as the provider does, and takes its login.
func connect(ctx context.Context, p *pulumi.Context, setting func(name, variable string) string) (*manager, error) {
	m := &manager{}
	found := make(chan error, 3)
	go func() {
		var err error
		m.endpoint, err = endpoint(ctx, setting)
		found <- err
	}()
	go func() {
		var client struct {
			SubscriptionID string `pulumi:"subscriptionId"`
		}
		err := invoke(p, "azure-native:authorization:getClientConfig", &client)
		m.subscription = client.SubscriptionID
		found <- err
	}()
	go func() {
		var client struct {
			Token string `pulumi:"token"`
		}
		err := invoke(p, "azure-native:authorization:getClientToken", &client)
		m.token = client.Token
		found <- err
	}()
	for range 3 {
		select {
		case err := <-found:
			if err != nil {
				return nil, err
			}
		case <-ctx.Done():
			return nil, errors.New("the login took too long")
		}
	}
	return m, nil
}

// invoke calls a function of the provider's that takes no argument.
func invoke(p *pulumi.Context, token string, into any) error {
	return p.Invoke(token, &struct{}{}, into, utilities.PkgInvokeDefaultOpts(nil)...)
}

// endpoint is where Resource Manager is: that of the environment, or what the metadata host says, on clouds that have one.
func endpoint(ctx context.Context, setting func(name, variable string) string) (string, error) {
	environment := strings.ToLower(setting("environment", "ARM_ENVIRONMENT"))
	host := setting("metadataHost", "ARM_METADATA_HOSTNAME")
	if host == "" {
		known, is := endpoints[environment]
		if !is {
			return "", fmt.Errorf("azure-native:environment: value %q is none that the program knows", environment)
		}
		return known, nil
	}
	var clouds []struct {
		ResourceManager string `json:"resourceManager"`
	}
	err := request(ctx, http.MethodGet, "https://"+host+"/metadata/endpoints?api-version=2022-09-01", "", nil, &clouds)
	if err == nil && (len(clouds) == 0 || clouds[0].ResourceManager == "") {
		err = fmt.Errorf("%q names no Resource Manager", host)
	}
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(clouds[0].ResourceManager, "/"), nil
}

// get reads something of the subscription's.
func (m *manager) get(ctx context.Context, path, version, filter string, into any) error {
	return m.ask(ctx, http.MethodGet, path, version, filter, nil, into)
}

func (m *manager) ask(ctx context.Context, method, path, version, filter string, body, into any) error {
	query := url.Values{"api-version": {version}}
	if filter != "" {
		query.Set("$filter", filter)
	}
	return request(ctx, method, m.endpoint+"/subscriptions/"+m.subscription+path+"?"+query.Encode(), m.token, body, into)
}

// refusal is an answer that is none.
type refusal struct {
	status int
	code   string
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
		return err
	}
	defer answer.Body.Close()
	said, err := io.ReadAll(io.LimitReader(answer.Body, answerLimit))
	if err != nil {
		return err
	}
	if answer.StatusCode/100 != 2 {
		var fault struct {
			Error struct {
				Code string `json:"code"`
			} `json:"error"`
		}
		_ = json.Unmarshal(said, &fault) // a proxy's answer has no code
		return refusal{answer.StatusCode, fault.Error.Code}
	}
	if err := json.Unmarshal(said, into); err != nil {
		return fmt.Errorf("read the answer of %s: %w", req.URL.Host, err)
	}
	return nil
}

// setting reads a setting of the provider's as the provider does: the stack's configuration, then the environment.
func setting(values map[string]string) func(name, variable string) string {
	return func(name, variable string) string {
		if value := values["azure-native:"+name]; value != "" {
			return value
		}
		return os.Getenv(variable)
	}
}
