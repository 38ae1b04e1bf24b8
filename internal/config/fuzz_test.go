package config

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// FuzzParseConfig sets one key, whatever its name. $ stands for a secret in the value.
func FuzzParseConfig(f *testing.F) {
	const canary = "canaryOfASecret"
	for _, s := range Reference() {
		for _, value := range []string{s.Default, "", "$", `{"laptop": {"address": "10.100.0.2"}}`, "[", "0", "-1", "65536", "10.0.0.0/8, 1.2.3.4/32", "::/0", "\x00\n"} {
			f.Add(s.Name, value, false)
			f.Add(s.Name, value, true)
		}
	}
	for _, seed := range [][2]string{
		{"sshport", "22"}, {"sshPort=22", ""}, {"bootstrap:false", ""}, {"peers.phone.address", "10.100.0.3"}, {"openclawEnv.KEY", "$"}, {"", ""}, {":", ""}, {"=", "="},
		{"peers", `{"phone": {"address": "10.100.0.300", "publicKey": "$", "sshKey": "ssh-ed25519 $"}}`}, {"peers", `{"a": {}, "a": {}}`}, {"peers", `{"a": [1e999]}`},
		{"openclawEnv", `{"KEY": "$", "OPENCLAW_X": "$", "A B": "$", "LD_PRELOAD": ["$"]}`}, {"openclawConfig", `{"a": {"b": [1, null, "$"]}, "gateway": "$"}`},
		{"openclawConfig", strings.Repeat(`{"a":`, 100)}, {"sandbox", `{"TasksMax": "$", "NoNewPrivileges": false}`}, {"nodeUrl", "http://user:$@mirror.example/"},
	} {
		f.Add(seed[0], seed[1], false)
		f.Add(seed[0], seed[1], true)
	}
	f.Fuzz(func(t *testing.T, key, value string, secret bool) {
		raw := with(key, strings.ReplaceAll(value, "$", canary))
		if secret {
			raw.secrets = []string{fullKey(key)}
		}
		c, err := parseConfig(raw)
		if (c == nil) == (err == nil) {
			t.Fatalf("%v, %v", c, err)
		}
		if err == nil {
			return
		}
		var faults Faults
		if !errors.As(err, &faults) || len(faults) == 0 {
			t.Fatalf("%T: %v", err, err)
		}
		if (secret || key == KeyOpenClawEnv) && strings.Contains(err.Error(), canary) && !namesASecret(value) {
			t.Errorf("it shows a secret: %v", err)
		}
	})
}

// namesASecret tells whether the name of a member has the secret in it: names are shown, as the CLI shows them too.
func namesASecret(text string) bool {
	return regexp.MustCompile(`"[^"]*\$[^"]*"\s*:`).MatchString(text)
}

func FuzzPlainVariables(f *testing.F) {
	const key = "openclaw:openclawEnv"
	for _, seed := range []struct {
		text  string
		plain string
	}{
		{"", ""}, {"config:", ""}, {"config: []", ""}, {"\t", ""}, {"config:\n  " + key + ": text\n", ""},
		{"config:\n  " + key + ":\n    A:\n      secure: v1:x\n", ""},
		{"config:\n  " + key + ":\n    secure: v1:x\n", ""},
		{"config:\n  " + key + ":\n    B: text\n    A: {secure: v1:x, more: y}\n    C:\n      secure: [x]\n", "A B C"},
		{"config:\n  other: &all\n    A: text\n  " + key + ": *all\n", "A"},
		{"config:\n  other: &sealed {secure: v1:x}\n  " + key + ":\n    A: *sealed\n", ""},
		{"config:\n  other: &all\n    A: text\n  " + key + ":\n    <<: *all\n    B: {secure: v1:x}\n", "A"},
		{"config:\n  " + key + ": &loop\n    A: *loop\n", "A"}, {"config: &a [*a]", ""}, {"{", ""}, {"config:\n  ? {a: b}\n  : c\n", ""},
	} {
		f.Add([]byte(seed.text))
		if got, err := plainIn([]byte(seed.text), key, false); strings.Join(got, " ") != seed.plain {
			f.Errorf("%q: got %q, %v", seed.text, got, err)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		plain, err := plainIn(text, key, false)
		if err != nil && plain != nil {
			t.Errorf("%q and %v", plain, err)
		}
		if !slices.IsSorted(plain) {
			t.Errorf("not in order: %q", plain)
		}
	})
}
