package posture

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
)

var iapAgent = regexp.MustCompile(`^serviceAccount:service-[0-9]+@gcp-sa-iap\.iam\.gserviceaccount\.com$`)

// iapRequired is what a service behind Identity-Aware Proxy has to grant.
const iapRequired = "the service agent of Identity-Aware Proxy as the only invoker"

// invokerAuth denies on any sign of unauthenticated calls. It passes only on the
// complete list of the service's grants, since any further one may be public.
func invokerAuth(c *judging) answer {
	s := c.s
	g := c.model.grantsOn(s)
	faults := slices.Clone(g.public)
	m := remedy{command: s.gcloud() + " remove-iam-policy-binding " + shell(s.name, "NAME") +
		s.inRegion() + " --member=MEMBER --role=ROLE", terraform: "# remove the IAM member"}
	if len(faults) > 0 {
		role := shellRole(strings.TrimPrefix(faults[0].found, faults[0].subject+" has "))
		group := s.gcloud()
		if strings.HasPrefix(role, "roles/cloudfunctions.") { // on the function, and not on its service
			group = "gcloud functions"
		}
		m.command = group + " remove-iam-policy-binding " + shell(s.name, "NAME") + s.inRegion() + " --member=" +
			strings.TrimSpace(faults[0].subject) + " --role=" + role
		m.terraform = "# remove " + faults[0].subject + " from the IAM resources"
	}

	// invokerIamDisabled "disables IAM permission check for run.routes.invoke for
	// callers of this service" (run/v2): no policy, however strict, is evidence.
	if s.invokerDisabled.text == "true" {
		faults = append([]fault{{subject: "invoker-iam-disabled", found: "the invoker IAM check is disabled"}},
			faults...)
		m = remedy{
			flag: "--invoker-iam-check", knative: []edit{annotation(runPrefix+"invoker-iam-disabled", "false")},
			fields: []edit{field(false, "invokerIamDisabled")},
		}
	}

	// Older set-ups of IAP had to allow unauthenticated calls: that is a warning
	// only where restricted ingress keeps callers from reaching the service past
	// the load balancer, and so past the proxy.
	behindIAP := s.iap.text == "true" || slices.Contains(c.profile.behindIAP, s.name)
	// Everybody in roles/iap.httpsResourceAccessor is everybody at the service.
	if behindIAP && g.opened {
		faults = append(faults, fault{subject: "iap", found: "everybody may pass Identity-Aware Proxy"})
	}

	switch {
	case len(faults) > 0 && behindIAP && restricted(s) && !g.opened:
		return answer{
			state: stateWarned, found: listFaults(faults) + ", as older set-ups of Identity-Aware Proxy " +
				"needed; ingress " +
				s.ingress.text + " lets callers in through the load balancer only",
			required: iapRequired, remedy: m,
		}
	case len(faults) > 0 && behindIAP:
		return violated(iapRequired+", or, in an older set-up, restricted ingress, since callers can bypass the proxy",
			m, faults...)
	case len(faults) > 0:
		return violated("authenticated callers only", m, faults...)

	// From here on nothing public was found; each case is a way in which the
	// search may have been incomplete.
	case s.invokerDisabled.unknown:
		return afterApply("whether the invoker check is disabled")
	case g.unknown:
		return afterApply("a member of the IAM policy")
	case !g.whole:
		return missingEvidence("the callers are unknown: a definition does not contain its IAM policy",
			"pass the output of `"+s.gcloud()+" get-iam-policy "+shell(s.name, "NAME")+s.inRegion()+
				" --format json` as --iam")
	case s.iap.text == "true" && !slices.ContainsFunc(g.invoker, iapAgent.MatchString):
		return violated("service-PROJECT_NUMBER@gcp-sa-iap.iam.gserviceaccount.com in roles/run.invoker", remedy{
			command: "gcloud run services add-iam-policy-binding " + shell(s.name, "NAME") + s.inRegion() +
				" --role=roles/run.invoker" +
				" --member=serviceAccount:service-PROJECT_NUMBER@gcp-sa-iap.iam.gserviceaccount.com",
		}, fault{found: "Identity-Aware Proxy is on, and its service agent is not an invoker"})
	}

	return satisfied("no grant allows unauthenticated calls")
}

var accountAddress = regexp.MustCompile(`^[^@\s]+@[^@\s]+\.[^@\s]+$`)

const sampleAccount = "NAME@PROJECT.iam.gserviceaccount.com"

func isDefaultAccount(email string) bool {
	email = strings.ToLower(email)
	for _, shared := range []string{"-compute@developer.gserviceaccount.com", "@appspot.gserviceaccount.com",
		"@cloudservices.gserviceaccount.com", "@cloudbuild.gserviceaccount.com"} {
		if strings.HasSuffix(email, shared) {
			return true
		}
	}

	return false
}

// dedicatedServiceAccount asks for an account of the service's own. "If not
// provided, the revision will use the project's default service account"
// (run/v2), which other workloads share, and which often has the role Editor.
func dedicatedServiceAccount(c *judging) answer {
	a := c.s.account
	m := remedy{
		flag:     "--service-account=" + sampleAccount,
		knative:  []edit{revisionField(sampleAccount, "serviceAccountName").toFill()},
		fields:   []edit{field(sampleAccount, "template", "serviceAccount").toFill()},
		function: block("service_config", `service_account_email = "`+sampleAccount+`"`),
	}
	const want = "a service account of its own"
	switch {
	case c.s.identity.unknown:
		return afterApply("the identity")
	case c.s.identity.text == "agent":
		// An agent identity is the workload's own, and no other can have it.
		return satisfied("runs as an agent identity of its own")
	case a.unknown:
		return afterApply("the service account")
	case a.text == "":
		return violated(want, m, fault{found: "no service account is set, so that the Compute Engine default runs it"})
	case isDefaultAccount(a.text):
		return violated(want, m, fault{subject: a.text, found: "runs as the default account " + clip(a.text)})
	case !accountAddress.MatchString(a.text):
		return violated("the e-mail address of a service account", m,
			fault{subject: a.text, found: quote(a.text) + " is not the address of a service account"})
	}

	return satisfied("runs as %s", clip(a.text))
}

// leastPrivilege looks for basic roles in the project's policy. Roles that the
// account holds through a group, a folder or the organisation are not in it, and
// the message of a pass says "in its own name".
func leastPrivilege(c *judging) answer {
	a := c.s.account
	if a.unknown || c.s.identity.unknown {
		return afterApply("the service account")
	}

	// A basic role that was found is a violation even in an incomplete list; the
	// absence of one is evidence only in a complete list.
	faults, whole := c.model.basicRoles(c.s)
	switch {
	case len(faults) > 0:
		return violated("the narrowest predefined roles, each on one resource", remedy{
			command: "gcloud projects remove-iam-policy-binding PROJECT --member=serviceAccount:" +
				shellAccount(a.text) +
				" --role=" + faults[0].subject,
		}, faults...)
	case a.text == "" && c.s.identity.text != "agent":
		return missingEvidence("no service account is set, so that its roles are unknown", "set --service-account")
	case c.model.openGrant(c.s, isBasic) != "":
		return afterApplyIn(clip(c.model.openGrant(c.s, isBasic)))
	case !whole:
		return missingEvidence("the grants of the project are missing or incomplete",
			"pass the output of `gcloud projects get-iam-policy PROJECT --format json` as --project-iam")
	}

	return satisfied("%s holds no basic role on the project in its own name",
		cmp.Or(clip(a.text), "the agent identity"))
}

var roleName = regexp.MustCompile(`^((projects|organi[z]ations)/[a-z0-9.:-]+/)?roles/[A-Za-z0-9_.]+$`)

// shellRole returns a role that needs no quoting in a shell, or else the
// placeholder.
func shellRole(role string) string {
	if !roleName.MatchString(role) {
		return "ROLE"
	}
	return role
}

func shellAccount(email string) string {
	if email == "" || strings.Trim(email, "abcdefghijklmnopqrstuvwxyz0123456789-.@") != "" {
		return "ACCOUNT"
	}
	return email
}

// buildAccount asks that source is built by an account of its own. The default one of Cloud Build is Compute Engine's,
// which often has the role Editor, and the source says what the build runs.
func buildAccount(c *judging) answer {
	s := c.s

	var faults []fault
	unknown := false
	for _, b := range s.builders {
		email := lastPart(b.text)
		unknown = unknown || b.unknown
		if b.unknown || email != "" && !isDefaultAccount(email) {
			continue
		}

		found := "the build runs as the default account"
		if email != "" {
			found += " " + clip(email)
		}
		faults = append(faults, fault{subject: email, found: found})
	}

	const account = "projects/PROJECT/serviceAccounts/" + sampleAccount

	// Only a deployment from source builds, and takes the flag; a function is deployed by other tools.
	command := s.deployed() + " --source=. --build-service-account=" + account
	if s.kind != kindService {
		command = ""
	}

	m := remedy{command: command, function: block("build_config", `service_account = "`+account+`"`),
		knative: []edit{annotation(runPrefix+"build-service-account", account).toFill()},
		fields:  []edit{field(account, "buildConfig", "serviceAccount").toFill()}}
	if s.builtContainers { // in YAML they are within the text of an annotation
		m.knative = nil
		m.fields = []edit{field(account, "template", "containers", "[]", "buildConfig", "serviceAccount").toFill()}
	}

	switch {
	case len(s.builders) == 0:
		return notAbout("the platform builds no source for it")
	case len(faults) > 0:
		return violated("a service account for builds", m, faults...)
	case unknown:
		return afterApply("the account of the build")
	}

	return satisfied("builds run as %s", clip(lastPart(s.builders[0].text)))
}
