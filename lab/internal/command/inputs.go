package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
)

// commonInputs are what local and remote commands share.
type commonInputs struct {
	Create                 *string           `json:"create"`
	Update                 *string           `json:"update"`
	Delete                 *string           `json:"delete"`
	Stdin                  *string           `json:"stdin"`
	Logging                *string           `json:"logging"`
	Environment            map[string]string `json:"environment"`
	AddPreviousOutputInEnv *bool             `json:"addPreviousOutputInEnv"`
	Triggers               []any             `json:"triggers"`
}

type remoteInputs struct {
	commonInputs
	Connection *connectionInputs `json:"connection"`
}

type localInputs struct {
	commonInputs
	Interpreter  []string `json:"interpreter"`
	Dir          *string  `json:"dir"`
	AssetPaths   []string `json:"assetPaths"`
	ArchivePaths []string `json:"archivePaths"`
}

type connectionInputs struct {
	endpoint
	Proxy *endpoint `json:"proxy"`
}

type endpoint struct {
	User               *string  `json:"user"`
	Password           *string  `json:"password"`
	Host               *string  `json:"host"`
	Port               *float64 `json:"port"`
	PrivateKey         *string  `json:"privateKey"`
	PrivateKeyPassword *string  `json:"privateKeyPassword"`
	AgentSocketPath    *string  `json:"agentSocketPath"`
	DialErrorLimit     *int     `json:"dialErrorLimit"`
	PerDialTimeout     *int     `json:"perDialTimeout"`
	HostKey            *string  `json:"hostKey"`
}

var connectionDefaults = resource.PropertyMap{
	"user":           resource.NewProperty("root"),
	"port":           resource.NewProperty(22.0),
	"dialErrorLimit": resource.NewProperty(10.0),
	"perDialTimeout": resource.NewProperty(15.0),
}

var connectionSecrets = []resource.PropertyKey{"password", "privateKey", "privateKeyPassword"}

// text is the first of the commands create, update, delete that is set.
func (c *commonInputs) text(which []string) (string, bool) {
	for _, name := range which {
		text := map[string]*string{"create": c.Create, "update": c.Update, "delete": c.Delete}[name]
		if text != nil {
			return *text, true
		}
	}
	return "", false
}

func (c *commonInputs) logs(stream string) bool {
	return c.Logging == nil || *c.Logging == stream || *c.Logging == "stdoutAndStderr"
}

// addsPrevious says whether the streams of the last run go into the environment of this one.
func (c *commonInputs) addsPrevious() bool {
	return c.AddPreviousOutputInEnv == nil || *c.AddPreviousOutputInEnv
}

// checkRemote fills in the connection's defaults and marks it as a secret.
func checkRemote(news resource.PropertyMap) (resource.PropertyMap, []*pulumirpc.CheckFailure) {
	news = news.Copy()
	if connection, ok := news["connection"]; ok {
		news["connection"] = resource.MakeSecret(checkEndpoint(connection))
	}
	_, failures := decodeRemote(news)
	return news, failures
}

func checkEndpoint(v resource.PropertyValue) resource.PropertyValue {
	for v.IsSecret() {
		v = v.SecretValue().Element
	}
	if !v.IsObject() {
		return v
	}
	object := v.ObjectValue().Copy()
	for key, value := range connectionDefaults {
		if !object.HasValue(key) {
			object[key] = value
		}
	}
	for _, key := range connectionSecrets {
		if value, ok := object[key]; ok && !value.IsSecret() {
			object[key] = resource.MakeSecret(value)
		}
	}
	if proxy, ok := object["proxy"]; ok {
		object["proxy"] = checkEndpoint(proxy)
	}
	return resource.NewProperty(object)
}

func decodeRemote(m resource.PropertyMap) (remoteInputs, []*pulumirpc.CheckFailure) {
	var in remoteInputs
	failures := decode(m, &in)
	connection, ok := m["connection"]
	switch {
	case !ok:
		failures = append(failures, missing("connection"))
	case in.Connection != nil && in.Connection.Host == nil && !hostIsUnknown(connection):
		failures = append(failures, missing("connection.host"))
	}
	return in, append(failures, checkLogging(in.commonInputs)...)
}

func decodeLocal(m resource.PropertyMap) (localInputs, []*pulumirpc.CheckFailure) {
	var in localInputs
	failures := decode(m, &in)
	if len(in.AssetPaths) > 0 || len(in.ArchivePaths) > 0 {
		failures = append(failures, &pulumirpc.CheckFailure{
			Property: "assetPaths", Reason: "the lab's command provider makes no assets and no archives",
		})
	}
	return in, append(failures, checkLogging(in.commonInputs)...)
}

func checkLogging(in commonInputs) []*pulumirpc.CheckFailure {
	if in.Logging == nil {
		return nil
	}
	switch *in.Logging {
	case "stdout", "stderr", "stdoutAndStderr", "none":
		return nil
	}
	return []*pulumirpc.CheckFailure{{
		Property: "logging", Reason: fmt.Sprintf("%q is none of stdout, stderr, stdoutAndStderr, none", *in.Logging),
	}}
}

func missing(property string) *pulumirpc.CheckFailure {
	return &pulumirpc.CheckFailure{Property: property, Reason: "missing required property"}
}

func hostIsUnknown(connection resource.PropertyValue) bool {
	v := plain(connection)
	return !v.IsObject() || v.ObjectValue()["host"].ContainsUnknowns()
}

// decode reads what is known into in; unknown values stay unset.
func decode(m resource.PropertyMap, in any) []*pulumirpc.CheckFailure {
	known, _ := knownValue(resource.NewProperty(m))
	data, err := json.Marshal(known)
	if err == nil {
		err = json.Unmarshal(data, in)
	}
	if err == nil {
		return nil
	}
	// The message of a JSON error may hold part of a value; its field and type never do.
	failure := &pulumirpc.CheckFailure{Reason: "cannot be read"}
	if mismatch := (*json.UnmarshalTypeError)(nil); errors.As(err, &mismatch) {
		failure.Property = strings.NewReplacer("commonInputs.", "", "endpoint.", "").Replace(mismatch.Field)
		failure.Reason = fmt.Sprintf("expected a %s", mismatch.Type)
	}
	return []*pulumirpc.CheckFailure{failure}
}

func knownValue(v resource.PropertyValue) (any, bool) {
	switch {
	case v.IsSecret():
		return knownValue(v.SecretValue().Element)
	case v.IsComputed(), v.IsOutput(), v.IsNull():
		return nil, false
	case v.IsObject():
		object := map[string]any{}
		for key, value := range v.ObjectValue() {
			if known, ok := knownValue(value); ok {
				object[string(key)] = known
			}
		}
		return object, true
	case v.IsArray():
		array := []any{}
		for _, value := range v.ArrayValue() {
			if known, ok := knownValue(value); ok {
				array = append(array, known)
			}
		}
		return array, true
	}
	return v.V, true
}
