package config

// The keys, as `pulumi config set` takes them.
const (
	KeyLocation          = "azure-native:location"
	KeyAllowedSSH        = "allowedSshCidr"
	KeyWireGuardSources  = "wireguardCidrs"
	KeyBootstrap         = "bootstrap"
	KeyTags              = "tags"
	KeyResourceGroup     = "resourceGroup"
	KeyImage             = "image"
	KeyVMSize            = "vmSize"
	KeyAdminUsername     = "adminUsername"
	KeyVNet              = "vnetCidr"
	KeyVPN               = "vpnCidr"
	KeySSHPort           = "sshPort"
	KeyWireGuardPort     = "wireguardPort"
	KeyPeers             = "peers"
	KeyOpenClawVersion   = "openclawVersion"
	KeyOpenClawPlugins   = "openclawPlugins"
	KeyOpenClawEnv       = "openclawEnv"
	KeyOpenClawKeys      = "openclawKeys"
	KeyOpenClawProviders = "openclawProviders"
	KeyOpenClawBudget    = "openclawBudget"
	KeyOpenClawPrices    = "openclawPrices"
	KeyEgress            = "egress"
	KeyAgentMayReach     = "agentMayReach"
	KeySandbox           = "sandbox"
	KeyOpenClawConfig    = "openclawConfig"
	KeyNodeURL           = "nodeUrl"
	KeyNodeSHA256        = "nodeSha256"
	KeyNPMRegistry       = "npmRegistry"
	KeyKeyGeneration     = "keyGeneration"
	KeyRescue            = "rescue"
	KeyConfirmSeconds    = "confirmSeconds"
	KeyBackupKeepDays    = "backupKeepDays"
	KeyBackupKey         = "backupKey"
	KeyAlerts            = "alerts"
	KeyDriftCheck        = "driftCheck"
)

// Setting describes one key. Where Default is empty, an empty value is the same
// as none, and Unset says what holds then.
type Setting struct {
	Name, Default, Unset, What string
}

// Reference is every key in the order in which Config has them: the one
// place where defaults stand. Pulumi.yaml and docs/configuration.md repeat it, and tests
// compare them with it.
func Reference() []Setting {
	return []Setting{
		{KeyLocation, "", "required",
			"Azure region, for example westeurope"},
		{KeyAllowedSSH, "", "required",
			"who may knock on port 22 while bootstrap is true: public IPv4 prefixes, comma-separated, your own address as a /32"},
		{KeyWireGuardSources, "", "those of allowedSshCidr",
			"who may knock on WireGuard's port: IPv4 prefixes, comma-separated; 0.0.0.0/0 for phones and laptops that roam"},
		{KeyBootstrap, "true", "",
			"true: port 22 is open and the program deploys through it; false: it proves the tunnel, then closes port 22"},
		{KeyTags, "", "none but project and stack",
			"tags that every resource in Azure gets, beside project and stack: tags.NAME, set with --path"},
		{KeyResourceGroup, "", "one of the program's own",
			"a resource group that exists, for all that is made; destroy leaves it and takes the rest away"},
		{KeyImage, "debian-13", "",
			"operating system: debian-13 or ubuntu-24.04"},
		// 2 vCPU and 4 GiB of the current burstable series: OpenClaw alone takes
		// close to 1 GiB. The older Standard_B2s is a previous generation, with
		// two thirds of its base performance.
		{KeyVMSize, "Standard_B2als_v2", "",
			"VM size, x86-64, with 4 GiB of memory or more"},
		{KeyAdminUsername, "azureuser", "",
			"user of the bootstrap door; locked out once the tunnel is proven"},
		{KeyVNet, "10.0.0.0/16", "",
			"private range of the virtual network; its first /24 is the subnet"},
		{KeyVPN, "10.100.0.0/24", "",
			"private range of the tunnel: the machine has its first address, the deployer its last"},
		{KeySSHPort, "2222", "",
			"port of sshd inside the tunnel (TCP)"},
		{KeyWireGuardPort, "51820", "",
			"port of WireGuard (UDP)"},
		{KeyPeers, "", "one peer, laptop, at the VPN's second address; once any is set, only those that are",
			"devices and admins: peers.NAME.address, optionally .publicKey (WireGuard), .sshKey (ed25519) and .observe (true: docs/drift.md), set with --path; {} for none"},
		{KeyOpenClawVersion, "2026.9.6", "",
			"version of OpenClaw, 2026.1.29 or newer, with a lock file in templates/opt/openclaw"},
		{KeyOpenClawPlugins, "", "none",
			"plugins that OpenClaw gets, comma-separated, for example discord,slack; docs/plugins.md"},
		{KeyOpenClawEnv, "", "no variables",
			"variables of the service's environment file: openclawEnv.NAME, set with --secret --path"},
		{KeyOpenClawKeys, "", "no keys",
			"keys that the agent never holds: openclawKeys.NAME, set with --secret --path; docs/keys.md"},
		{KeyOpenClawProviders, "", "those that the program knows",
			"other providers of models: openclawProviders.NAME.url, and .header and .api where they differ, set with --path; docs/keys.md"},
		{KeyOpenClawBudget, "", "no limit",
			"what a provider may be asked for: openclawBudget.PROVIDER.requestsPerMinute, .tokensPerDay and .usdPerDay, set with --path; docs/keys.md"},
		{KeyOpenClawPrices, "", "those of the program's table",
			"prices that a budget counts with, in USD for a million tokens: openclawPrices.PROVIDER[\"MODEL\"].input, .output, .cacheRead and .cacheWrite, set with --path"},
		{KeyEgress, "open", "",
			"where the agent may go: open (the Internet), none, or a list of name, .suffix, name:port and address:port, comma-separated; docs/network.md"},
		{KeyAgentMayReach, "", "nothing",
			"what the agent reaches in the VPN and the VNet: address:port, comma-separated, for example 10.100.0.2:11434"},
		{KeySandbox, "", "nothing",
			"what the agent may do beyond its sandbox: sandbox.DIRECTIVE, set with --path; docs/sandbox.md says which, and what each costs"},
		{KeyOpenClawConfig, "", "nothing",
			"what is added to openclaw.json, for example openclawConfig.agents.defaults.model.primary, set with --path; all but the gateway and secrets"},
		{KeyNodeURL, "", "the official release of Node " + nodeVersion,
			"mirror of Node's release archive, in the official layout; needs nodeSha256"},
		{KeyNodeSHA256, "", "that of the official release",
			"SHA-256 of what nodeUrl gives"},
		{KeyNPMRegistry, "", "npm's own default",
			"mirror of the registry that packages come from; the lock file says what they must be"},
		{KeyKeyGeneration, "1", "",
			"a higher number renews every key that the program made"},
		{KeyRescue, "0", "",
			"any other number opens the bootstrap door on the host once more, through Azure's agent; needs bootstrap true"},
		{KeyConfirmSeconds, "120", "",
			"how long the host waits for the proof that the way in still works before it puts the old settings back, 30 to 900"},
		{KeyBackupKeepDays, "14", "",
			"how many days backups are kept, 1 to 365"},
		{KeyBackupKey, "", "backups are read on the machine alone, and go with it",
			"your own key of the backups, a secret: `" + MakeBackupKey + "`; docs/backups.md"},
		{KeyAlerts, "", "nobody",
			"who is told when something stops: alerts.NAME.kind, and alerts.NAME.url, set with --secret --path; alerts.azureEmail is told by Azure; docs/alerts.md"},
		{KeyDriftCheck, "on", "",
			"on: a host that does not answer costs a warning; required: an error; off: the host is not looked at"},
	}
}
