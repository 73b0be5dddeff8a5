package posture

import (
	"cmp"
	"slices"
	"strings"
)

// Config Connector: Google Cloud's resources as documents of a Kubernetes cluster. Those of Cloud Run are the v2 API's,
// with references in place of names; the others are Terraform's resources in camel case.

const connectorDomain = ".cnrm.cloud.google.com"

// ofConnector reports whether a document is one of Config Connector's.
func ofConnector(apiVersion string) bool {
	group, _, _ := strings.Cut(apiVersion, "/")
	return strings.HasSuffix(group, connectorDomain)
}

// connected adds a document of Config Connector.
func (m *model) connected(r *reader, n *node, apiVersion, kind string) {
	spec := r.dereferenced(r.mapping(n.at("spec"), "spec"))

	// A document without a spec has defaults alone, and is judged by them.
	if spec == nil {
		spec = &node{kind: nodeMapping, line: n.line, fields: map[string]*node{}}
	}

	name := r.text(n.at("metadata", "name"), "metadata.name").text

	// What is nearest to the resource counts: its own field, its annotation, its namespace.
	project := first(r.text(spec.at("project"), "spec.projectRef"),
		r.text(n.at("metadata", "annotations", "cnrm.cloud.google.com/project-id"),
			"the annotation cnrm.cloud.google.com/project-id"),
		r.text(n.at("metadata", "namespace"), "metadata.namespace"))

	project.text = strings.TrimPrefix(project.text, "projects/")

	switch workload := map[string]string{"RunService": kindService, "RunJob": kindJob,
		"RunWorkerPool": kindPool}[kind]; {
	case workload != "" && !present(spec.at("template")):
		m.unjudged = append(m.unjudged, otherDocument(r.file, apiVersion, kind, n))
	case workload != "":
		m.connectedWorkload(r, n, spec, workload, name, project)
	case slices.Contains([]string{"IAMPolicy", "IAMPartialPolicy", "IAMPolicyMember"}, kind):
		m.connectedGrants(r, n.at("spec"), spec, kind, name, project)
	default:
		m.connectedResource(r, n, spec, apiVersion, kind, name, project)
	}
}

// connectedWorkload reads a RunService, RunJob or RunWorkerPool.
func (m *model) connectedWorkload(r *reader, n, spec *node, kind, name string, project text) {
	// A reference to an account by name is to one of the same project.
	for _, template := range []*node{spec.at("template"), spec.at("template", "template")} {
		if account := template.at("serviceAccount"); account != nil && account.kind == nodeText &&
			!strings.Contains(account.text, "@") && project.text != "" {
			template.fields["serviceAccount"] = textNode(account.text+"@"+project.text+".iam.gserviceaccount.com",
				account.line)
		}
	}

	// A key by its name in the cluster has a full name that is not known here.
	for _, template := range []*node{spec.at("template"), spec.at("template", "template")} {
		if key := template.at("encryptionKey"); key.written() != "" && !strings.Contains(key.written(), "/") {
			template.fields["encryptionKey"] = &node{kind: nodeUnknown, line: key.line}
		}
	}

	s := r.v2(spec, kind, knativeShape())
	s.form, s.line, s.column = formConnector, n.line, n.column
	s.name = cmp.Or(r.text(spec.at("resourceID"), "spec.resourceID").text, name)
	s.project = project
	s.region = r.text(spec.at("location"), "spec.location")
	s.annotated = append(s.annotated, pairs(n.at("metadata", "annotations"))...)
	s.annotated = append(s.annotated, pairs(n.at("metadata", "labels"))...)
	m.addWorkload(r, s)
}

// grantedKinds are the families of Terraform's IAM resources, by the kind of what a grant of Config Connector is on,
// with the field that names it.
func grantedKinds() map[string][2]string {
	return map[string][2]string{
		"RunService": {"google_cloud_run_v2_service", "name"}, "RunJob": {"google_cloud_run_v2_job", "name"},
		"RunWorkerPool":           {"google_cloud_run_v2_worker_pool", "name"},
		"CloudFunctions2Function": {"google_cloudfunctions2_function", "cloud_function"},
		"Project":                 {"google_project", "project"}, "Folder": {"google_folder", "folder"},
		"Organization":        {"google_organization", "org_id"},
		"SecretManagerSecret": {"google_secret_manager_secret", "secret_id"}, "KMSCryptoKey": {"google_kms_crypto_key",
			"crypto_key_id"},
		"KMSKeyRing": {"google_kms_key_ring", "key_ring_id"}, "IAMServiceAccount": {"google_service_account",
			"service_account_id"},
		"ArtifactRegistryRepository":  {repositoryType, "repository"},
		"BinaryAuthorizationAttestor": {"google_binary_authorization_attestor", "attestor"},
		"PubSubTopic":                 {"google_pubsub_topic", "topic"},
		"PubSubSubscription":          {"google_pubsub_subscription", "subscription"},
		"CloudTasksQueue":             {"google_cloud_tasks_queue", "name"},
	}
}

// connectedGrants adds the grants of an IAMPolicy, which lists all of a resource, or of an IAMPartialPolicy or
// IAMPolicyMember, which add some.
func (m *model) connectedGrants(r *reader, written, spec *node, kind, name string, project text) {
	on := written.at("resourceRef")
	target := r.text(on.at("kind"), "spec.resourceRef.kind").text
	family, ok := grantedKinds()[target]
	if !ok {
		family = [2]string{"google" + snake(camel(target)), "name"} // of no rule
	}

	at := referredName(on)
	after := &node{kind: nodeMapping, line: written.lineOf(),
		fields: map[string]*node{"project": textNode(project.text, written.lineOf())}}
	if !project.set {
		delete(after.fields, "project")
	}

	// A project's own reference names the project; without a name it is the one of the namespace.
	if at != nil {
		after.fields[family[1]] = textNode(strings.TrimPrefix(at.written(), "projects/"), at.line)
		if strings.Count(at.written(), "/") > 1 {
			after.fields[family[1]] = at
		}
	}

	suffix := "_iam_policy"
	switch kind {
	case "IAMPolicyMember":
		suffix = "_iam_member"
		after.fields["role"], after.fields["member"] = spec.at("role"), memberOf(spec, project)
	default:
		after.fields["bindings"] = bindingsOf(spec.at("bindings"), project)
		if kind == "IAMPartialPolicy" {
			after.fields["partial"] = textNode("true", written.lineOf())
		}
	}

	m.gather(r.file, &planned{kind: family[0] + suffix, address: kind + "/" + cmp.Or(name, "unnamed"),
		name: name, after: after})
}

func (n *node) lineOf() int {
	if n == nil {
		return 0
	}
	return n.line
}

// memberOf is the member of a grant: written out, or by a reference to a service account and the like. Any other
// reference names a resource, and so is not everybody.
func memberOf(n *node, project text) *node {
	if member := n.at("member"); member != nil {
		return member
	}
	if account := n.at("memberFrom", "serviceAccount"); account != nil && account.kind == nodeText {
		if !strings.Contains(account.text, "@") {
			return textNode("serviceAccount:"+account.text+"@"+project.text+".iam.gserviceaccount.com", account.line)
		}
		return textNode("serviceAccount:"+account.text, account.line)
	}

	return &node{kind: nodeUnknown}
}

// bindingsOf are bindings as an IAM policy has them; the members of an IAMPartialPolicy are mappings. What is not a
// list stays as it is, and is an error where it is read: an empty list would say that nobody may call.
func bindingsOf(n *node, project text) *node {
	if n != nil && n.kind != nodeNull && n.kind != nodeList {
		return n
	}

	out := &node{kind: nodeList, line: n.lineOf()}
	for _, b := range items(n) {
		members := &node{kind: nodeList, line: b.line}
		for _, member := range items(b.at("members")) {
			if member.kind == nodeMapping {
				member = memberOf(member, project)
			}
			members.items = append(members.items, member)
		}

		// Members that are not a list stay as they are written, and are an error where they are read.
		if written := b.at("members"); written != nil && written.kind != nodeNull && written.kind != nodeList {
			members = written
		}
		out.items = append(out.items,
			&node{kind: nodeMapping, line: b.line, fields: map[string]*node{"role": b.at("role"), "members": members}})
	}

	return out
}

// connectedTypes are the types of Terraform whose names are not those of Config Connector's kinds in snake case; a
// second one is that of a regional resource.
func connectedTypes() map[string][2]string {
	return map[string][2]string{
		"ComputeSecurityPolicy": {globalArmor, regionalArmor}, "ComputeBackendService": {globalBackend,
			regionalBackend},
		"ComputeURLMap": {urlMaps()[0], urlMaps()[1]}, "ComputeSSLPolicy": {sslPolicies()[0], sslPolicies()[1]},
		"ComputeTargetHTTPSProxy": {httpsProxies()[0], httpsProxies()[1]}, "ComputeTargetHTTPProxy": {httpProxies()[0],
			httpProxies()[1]},
		"ComputeTargetSSLProxy": {httpsProxies()[2]}, "ComputeRouterNAT": {natType, natType},
		"SQLInstance":                       {databaseType, databaseType},
		"ComputeNetworkEndpointGroup":       {endpointGroup, endpointGroup},
		"ComputeRegionNetworkEndpointGroup": {endpointGroup, endpointGroup},
		"VPCAccessConnector":                {connectorType, connectorType}, "OrgPolicyPolicy": {organizationPolicy},
		"ResourceManagerPolicy":           {legacyPolicies()[0]},
		"IAMServiceAccountKey":            {"google_service_account_key"},
		"IAMWorkloadIdentityPoolProvider": {providerType, providerType},
		"AccessContextManagerAccessLevel": {levelType},
		"AlloyDBInstance":                 {alloyType, alloyType},
		"CloudFunctions2Function": {"google_cloudfunctions2_function",
			"google_cloudfunctions2_function"},
		"CloudFunctionsFunction": {"google_cloudfunctions_function",
			"google_cloudfunctions_function"},
		"AccessContextManagerServicePerimeterResource": {perimeterType + "_resource"},
	}
}

// connectedResource adds any other resource, as Terraform has it.
func (m *model) connectedResource(r *reader, n, spec *node, apiVersion, kind, name string, project text) {
	location := spec.at("location").written()
	region := cmp.Or(spec.at("region").written(), location)
	regional := region != "" && region != "global"

	// Terraform's name is the kind's in snake case, unless the table says otherwise.
	typed := "google" + snake(camel(kind))
	if types, ok := connectedTypes()[kind]; ok {
		if typed = types[0]; regional && types[1] != "" {
			typed = types[1]
		}
	}

	after := r.asBlocks(spec)
	resource := textNode(name, n.line)
	if id := spec.at("resourceID"); id.written() != "" && kind == "OrgPolicyPolicy" {
		resource = id
	}
	if after.fields["name"] == nil {
		after.fields["name"] = resource
	}
	if after.fields["region"] == nil && regional {
		after.fields["region"] = textNode(region, n.line)
	}
	if project.set && after.fields["project"] == nil {
		after.fields["project"] = textNode(project.text, n.line)
	}

	// What runs elsewhere, or holds containers that no rule reads, is reported as not judged: an empty report would
	// read as a pass.
	switch p := (&planned{kind: typed, address: kind + "/" + cmp.Or(name, "unnamed"), name: name, after: after}); {
	case typed == "google_cloudfunctions2_function":
		s := r.function(after)
		s.line, s.region, s.project, s.address, s.from = n.line, textOf(region), project, p.address, p
		s.form = formResource
		m.addWorkload(r, s)
	case isOutside(typed):
		m.unjudged = append(m.unjudged, unjudgedPart{file: r.file, name: name, kind: cleanKind(kind), line: n.line,
			message: quote(kind) + " runs outside Cloud Run, and is not judged",
			fix:     "judge it with the tool for its platform"})
	case strings.HasPrefix(apiVersion, "run"+connectorDomain), runsContainers(typed, after), listsContainers(spec, 0):
		m.unjudged = append(m.unjudged, otherDocument(r.file, apiVersion, kind, n))
	default:
		m.gather(r.file, p)
	}
}

// connectedEdits are edits of the v2 API as Config Connector has them: names of other resources are references.
func connectedEdits(edits []edit) []edit {
	refs := []string{"serviceAccount", "encryptionKey", "network", "subnetwork", "connector", "secret", "version"}

	var out []edit
	for _, e := range edits {
		// Other forms use the same remedy: only a copy is changed.
		e.path = slices.Clone(e.path)
		for i, name := range e.path {
			e.path[i] = connectorName(name)
		}
		if last := e.path[len(e.path)-1]; slices.Contains(refs, last) {
			e.path = append(slices.Clone(e.path[:len(e.path)-1]), last+"Ref")
			e.value = map[string]any{"external": e.value}
		} else {
			e.value = referencing(e.value, refs)
		}
		out = append(out, e)
	}

	return out
}

// connectorName is a field's name as Config Connector writes it, where that is not the API's: the cluster refuses
// another.
func connectorName(name string) string {
	switch name {
	case "invokerIamDisabled":
		return "invokerIAMDisabled"
	case "defaultUriDisabled":
		return "defaultURIDisabled"
	}
	return name
}

func referencing(v any, refs []string) any {
	switch v := v.(type) {
	case []any:
		var out []any
		for _, item := range v {
			out = append(out, referencing(item, refs))
		}

		return out
	case map[string]any:
		out := map[string]any{}
		for name, field := range v {
			if text, ok := field.(string); ok && slices.Contains(refs, name) {
				out[name+"Ref"] = map[string]any{"external": text}
				continue
			}
			out[name] = referencing(field, refs)
		}

		return out
	}

	return v
}
