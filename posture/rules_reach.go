package posture

import (
	"cmp"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// networkOwn advises against the network "default", which every project begins with. It has subnets in all regions, and
// firewall rules that let SSH, RDP and every machine of the network through.
func networkOwn(c *judging) answer {
	s := c.s
	if s.connector.text == "" && !s.connector.unknown && !s.network.set && !s.network.unknown {
		return notAbout("no network is used; VPC_EGRESS asks for one")
	}

	names, open := c.model.networks(s)
	switch {
	case slices.Contains(names, defaultNetwork):
		return violated("a network of one's own", vpcRemedy(s.narrowEgress()),
			fault{subject: defaultNetwork, found: "traffic leaves by the network \"default\", whose firewall rules " +
				"admit every machine in it"})
	case open || len(names) == 0:
		return notAbout("the input does not show the network of the connector or subnetwork")
	}

	return satisfied("traffic leaves by the network %s", clip(strings.Join(names, ", ")))
}

// accountReach asks that a workload which is taken over does not take the project with it: its account has no role on a
// project, or above, by which it becomes another identity, changes grants, deploys, reads every secret or uses every
// key. The same role on one resource is narrow, but for the accounts that it may act as.
func accountReach(c *judging) answer {
	a := c.s.account
	if a.unknown || c.s.identity.unknown {
		return afterApply("the service account")
	}

	faults := c.model.broadRoles(c.s)
	open := c.model.openGrant(c.s, func(role string) bool { return broad(role) != "" })

	// The right to act as another account is that account's reach.
	for _, p := range c.model.plans() {
		more, unknown := p.impersonations(a.text)
		faults, open = append(faults, more...), cmp.Or(open, unknown)
	}

	_, whole := c.model.basicRoles(c.s)
	switch {
	case len(faults) > 0:
		return violated("roles for its task, each on one resource", remedy{
			command: "gcloud projects remove-iam-policy-binding PROJECT --member=serviceAccount:" +
				shellAccount(a.text) +
				" --role=" + shellRole(faults[0].subject),
		}, faults...)
	case a.text == "" && c.s.identity.text != "agent":
		return missingEvidence("no service account is set, so that its roles are unknown", "set --service-account")
	case open != "":
		return afterApplyIn(clip(open))
	case !whole:
		return missingEvidence("the grants of the project are missing or incomplete",
			"pass the output of `gcloud projects get-iam-policy PROJECT --format json` as --project-iam")
	}

	return satisfied("%s has no role that reaches beyond its task", cmp.Or(clip(a.text), "the agent identity"))
}

// broadRoles lists the roles on the project, or above it, by which the account of a workload reaches far.
func (m *model) broadRoles(s *workload) []fault {
	var faults []fault
	for _, p := range m.policiesOf(s) {
		if !p.project {
			continue
		}

		for _, b := range p.bindings {
			why := broad(b.role.text)
			if why == "" {
				continue
			}

			for _, member := range b.members {
				if includesAccount(member.text, s.account.text) || s.isAgent(member.text) {
					faults = append(faults, fault{subject: b.role.text,
						found: clip(b.role.text) + " on the " + cmp.Or(p.level, "project") + " " + why})
				}
			}
		}
	}

	return faults
}

// connectionName is how Cloud SQL names an instance: "{project}:{location}:{instance}", the project with its domain.
var connectionName = regexp.MustCompile(
	`(?:^|[\s=,/?&])([a-z][a-z0-9.-]*(?::[a-z][a-z0-9-]*)?):([a-z]+-[a-z]+[0-9]+):([a-z][a-z0-9-]*)`)

// databaseRegion asks that the databases which a workload connects to are where its own data may be. They stand in its
// sockets, and in the arguments and variables of the Cloud SQL Auth Proxy and of Cloud SQL's connectors.
func databaseRegion(c *judging) answer {
	texts := slices.Clone(c.s.databases)
	for _, k := range c.s.containers {
		for _, v := range k.env {
			texts = append(texts, v.value)
		}
		for _, a := range k.args {
			texts = append(texts, textOf(a))
		}
	}

	var faults []fault

	// A name that is written out is judged even if others are unknown.
	connected := 0
	for _, t := range texts {
		for _, m := range connectionName.FindAllStringSubmatch(t.text, -1) {
			connected++
			if !slices.Contains(c.profile.regions, m[2]) {
				faults = append(faults, fault{subject: m[3], found: "database " + clip(m[3]) + " is in " + m[2]})
			}
		}
	}

	switch {
	case len(faults) > 0:
		return violated("databases in "+strings.Join(c.profile.regions, ", "),
			remedy{command: "gcloud sql instances create NAME --region=" +
				c.profile.regions[0] + ", move the data, and connect to it"}, faults...)
	case slices.ContainsFunc(c.s.databases, func(t text) bool { return t.unknown }):
		return afterApply("a database")
	case connected == 0:
		return notAbout("the definition names no database of Cloud SQL")
	case slices.ContainsFunc(texts, func(t text) bool { return t.unknown }):
		return afterApply("a variable, which may name a further database,")
	}

	return satisfied("every database is in an approved region")
}

// broad says why a role on a whole project reaches far, or "". A basic role is LEAST_PRIVILEGE's.
func broad(role string) string {
	switch role {
	case "roles/iam.serviceAccountTokenCreator", "roles/iam.serviceAccountUser", "roles/iam.serviceAccountKeyAdmin",
		"roles/iam.serviceAccountOpenIdTokenCreator", "roles/iam.workloadIdentityUser":
		return "lets it act as every service account"
	case "roles/secretmanager.secretAccessor", "roles/secretmanager.admin":
		return "lets it read every secret"
	case "roles/cloudkms.cryptoKeyDecrypter", "roles/cloudkms.cryptoKeyEncrypterDecrypter", "roles/cloudkms.signer",
		"roles/cloudkms.signerVerifier", "roles/cloudkms.cryptoOperator", "roles/cloudkms.admin":
		return "lets it use every key"
	case "roles/run.developer", "roles/run.sourceDeveloper", "roles/cloudfunctions.developer",
		"roles/cloudbuild.builds.editor",
		"roles/deploymentmanager.editor", "roles/config.agent":
		return "lets it deploy"
	case "roles/iam.securityAdmin", "roles/resourcemanager.projectIamAdmin", "roles/resourcemanager.folderIamAdmin",
		"roles/resourcemanager.organizationAdmin", "roles/iam.roleAdmin", "roles/iam.organizationRoleAdmin":
		return "lets it change grants"
	case "roles/binaryauthorization.policyEditor", "roles/binaryauthorization.attestorsEditor",
		"roles/containeranalysis.occurrences.editor", "roles/containeranalysis.notes.editor":
		return "lets it change what is admitted"
	}

	// Predefined roles that administer a service end in "admin" or "Admin".
	if last := role[strings.LastIndex(role, ".")+1:]; strings.HasPrefix(role, "roles/") &&
		strings.HasSuffix(strings.ToLower(last), "admin") {
		return "lets it administer all of a service"
	}

	return ""
}

// An acting is a grant by which a member may act as a service account.
type acting struct {
	fault
	target string
	member string
	open   string // what of it is known only after apply
}

// impersonations lists the grants by which an account may act as another, and one that may turn out to be such a grant.
func (p *plan) impersonations(account string) (faults []fault, open string) {
	if account == "" {
		return nil, ""
	}

	if p.acting == nil {
		p.acting = p.readActing()
	}

	// Grants to this account, and those to sets of accounts.
	for _, a := range slices.Concat(p.acting["serviceaccount:"+strings.ToLower(account)], p.acting[""]) {
		own := strings.HasSuffix(a.target, "/"+account)
		if a.open != "" {
			// Its own account as the target, or another member, opens nothing.
			if !own && (a.member == "" || includesAccount(a.member, account)) {
				open = cmp.Or(open, a.open)
			}
			continue
		}

		// On itself: a token of its own.
		if !own && includesAccount(a.member, account) {
			faults = append(faults, a.fault)
		}
	}

	return faults, open
}

// readActing reads the grants on service accounts by their members; under "" are those to sets of accounts.
func (p *plan) readActing() map[string][]acting {
	out := map[string][]acting{}
	for _, form := range grantForms() {
		for _, grant := range p.of("google_service_account_iam_" + form) {
			bindings, known := grantsOf(grant.after)
			target := grant.after.at("service_account_id").written()
			if !known {
				out[""] = append(out[""], acting{target: target, open: grant.address})
			}

			for _, b := range bindings {
				if broad(b.role.text) == "" && !isBasic(b.role.text) && !b.role.unknown {
					continue
				}

				for _, m := range b.members {
					open := ""
					if m.unknown || b.role.unknown && m.set {
						open = grant.address
					}

					// Sets of accounts and unknown members are looked at for every account.
					key := strings.ToLower(m.text)
					if !strings.HasPrefix(key, "serviceaccount:") {
						key = ""
					}
					out[key] = append(out[key], acting{member: m.text, open: open, target: target, fault: fault{
						subject: b.role.text, found: clip(grant.address) + " lets it act as another service account"}})
				}
			}
		}
	}

	return out
}

// sharePrivate asks that an NFS share is reached within the VPC: NFS encrypts nothing.
func sharePrivate(c *judging) answer {
	s := c.s

	var faults []fault
	shares, unknown := 0, false
	for _, v := range s.mounts {
		if v.kind != mountShare {
			continue
		}
		shares++

		// An address is judged before the way to it: traffic to a public one leaves the VPC.
		address, err := netip.ParseAddr(v.source.text)
		switch {
		case err == nil && !address.IsPrivate() && !address.IsLoopback() && !address.IsLinkLocalUnicast():
			faults = append(faults,
				fault{subject: v.name, found: "the NFS share " + clip(v.name) + " is at the public address " +
					address.String()})
		case s.connector.text == "" && !s.network.set && (s.connector.unknown || s.network.unknown):
			unknown = true
		case s.connector.text == "" && !s.network.set:
			faults = append(faults, fault{subject: v.name, found: "the NFS share " + clip(v.name) + " is mounted " +
				"without VPC egress"})
		case v.source.unknown:
			unknown = true
		}
	}

	switch {
	case len(faults) > 0:
		return violated("a share at a private address, by VPC egress, since NFS encrypts nothing",
			vpcRemedy(s.narrowEgress()), faults...)
	case unknown:
		return afterApply("the way to an NFS share")
	case shares == 0:
		return satisfied("no NFS share is mounted")
	}

	return satisfied("NFS shares are reached within the VPC")
}

// mountsReadOnly advises that buckets and shares are mounted for reading: a workload that is taken over then changes no
// data that others read.
func mountsReadOnly(c *judging) answer {
	var faults []fault
	var writable []mount
	unknown := false
	for _, v := range c.s.mounts {
		unknown = unknown || v.readOnly.unknown
		if v.readOnly.text != "true" && !v.readOnly.unknown {
			writable = append(writable, v)
			what := map[string]string{mountBucket: "bucket", mountShare: "NFS share"}[v.kind]
			faults = append(faults,
				fault{subject: v.name, found: "the " + what + " of volume " + clip(v.name) + " is mounted for writing"})
		}
	}

	switch {
	case len(faults) > 0:
		return violated("readOnly, or an exception that says why the workload writes", mountedReadOnly(writable),
			faults...)
	case unknown:
		return afterApply("whether a volume is mounted for reading only")
	}

	return satisfied("no bucket and no share is mounted for writing")
}

// keyRevocation advises to say what happens to running instances when the key is revoked. PREVENT_NEW, the default,
// lets them run on with the data that they decrypted.
func keyRevocation(c *judging) answer {
	s := c.s
	switch {
	case s.key.text == "" && !s.key.unknown:
		return notAbout("no encryption key is set; CMEK asks for one")
	case s.form == formTerraform && s.kind == kindService:
		return notAbout("google_cloud_run_v2_service has no field for it")
	case s.revocation.unknown:
		return afterApply("the action after a key's revocation")
	case s.revocation.text == "prevent-new", s.revocation.text == "shut-down":
		return satisfied("when the key is revoked: %s", s.revocation.text)
	}

	flag := "--post-key-revocation-action-type=shut-down"
	if s.kind == kindInstance { // whose commands have no such flag
		flag = ""
	}

	return violated("prevent-new or shut-down, written out", remedy{
		flag:    flag,
		knative: []edit{revisionAnnotation(runPrefix+"post-key-revocation-action-type", "shut-down").toFill()},
		fields:  []edit{field("SHUTDOWN", "template", "encryptionKeyRevocationAction").toFill()},
	}, fault{found: "the definition does not say what happens when the encryption key is revoked"})
}

// databaseEncrypted asks that a database refuses connections without TLS, or admits those of Google's connectors alone,
// which bring TLS themselves.
func databaseEncrypted(c *judging) answer {
	return c.all(databaseType, "ssl_mode ENCRYPTED_ONLY or TRUSTED_CLIENT_CERTIFICATE_REQUIRED, or "+
		"connector_enforcement REQUIRED",
		block("settings", block("ip_configuration", `ssl_mode = "ENCRYPTED_ONLY"`)),
		"databases refuse connections without TLS",
		func(n *node) string {
			settings := n.block("settings")
			ip := settings.block("ip_configuration")
			mode := ip.at("ssl_mode")

			// The newer ssl_mode outweighs require_ssl, unless it is unknown.
			if isOneOf(mode, "ENCRYPTED_ONLY", "TRUSTED_CLIENT_CERTIFICATE_REQUIRED") ||
				isOneOf(settings.at("connector_enforcement"), "REQUIRED") ||
				isOneOf(ip.at("require_ssl"), "true") && !isUnknown(mode) &&
					!isOneOf(mode, "ALLOW_UNENCRYPTED_AND_ENCRYPTED") {
				return ""
			}

			for _, one := range []struct {
				path  string
				value *node
			}{{"ip_configuration.ssl_mode", mode}, {"connector_enforcement", settings.at("connector_enforcement")},
				{"ip_configuration.require_ssl", ip.at("require_ssl")}} {
				if isUnknown(one.value) {
					return undecided("settings." + one.path)
				}
			}

			return "accepts connections without TLS"
		})
}

const databaseType = "google_sql_database_instance"
