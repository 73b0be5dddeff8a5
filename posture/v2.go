package posture

import (
	"fmt"
	"strings"
)

// v2 reads a Service or Job as the v2 API writes it, and as Terraform's
// google_cloud_run_v2_service and _job do, whose names are in snake case.
func (r *reader) v2(n *node, kind string, sh shape) *workload {
	s := &workload{kind: kind, file: r.file, line: n.line, column: n.column, form: formV2}
	f := func(from *node, path ...string) *node {
		for i := range path {
			path[i] = sh.name(path[i])
		}
		return sh.at(from, path...)
	}
	s.name = r.text(n.at("name"), "name").text

	// A full name says the project and the region too.
	if p := strings.Split(s.name, "/"); len(p) == 6 && p[0] == "projects" && p[2] == "locations" {
		s.project, s.region, s.name = text{set: true, text: p[1]}, text{set: true, text: p[3]}, p[5]
	}

	s.ingress = gcloudName(r.text(n.at("ingress"), "ingress"), ingressValues())
	s.invokerDisabled = r.flag(f(n, "invokerIamDisabled"), "invokerIamDisabled")
	s.iap = r.flag(f(n, "iapEnabled"), "iapEnabled")
	s.urlDisabled = r.flag(f(n, "defaultUriDisabled"), "defaultUriDisabled")
	b := r.mayBeUnknown(f(n, "binaryAuthorization"), "binaryAuthorization")
	s.binauthz = r.text(b.at("policy"), "binaryAuthorization.policy")

	// The default policy counts as a name; a flag that is known only after apply leaves it open.
	if use := r.flag(f(b, "useDefault"), "binaryAuthorization.useDefault"); use.text == "true" {
		s.binauthz = text{set: true, text: "default"}
	} else if use.unknown {
		s.binauthz = first(s.binauthz, use)
	}

	s.breakglass = r.text(f(b, "breakglassJustification"), "binaryAuthorization.breakglassJustification")
	s.breakglass.set = s.breakglass.set && s.breakglass.text != ""

	template := r.mapping(f(n, "template"), "template")
	switch kind {
	case kindJob:
		template = r.mapping(f(template, "template"), "template.template")
	case kindInstance: // "containers" and what belongs to them are at its top
		template = n
	}

	s.account = r.text(f(template, "serviceAccount"), "template.serviceAccount")
	s.identity = gcloudName(r.text(f(template, "workloadIdentityConfig", "identityType"),
		"template.workloadIdentityConfig.identityType"),
		identityTypes())
	s.timeout = r.seconds(template.at("timeout"), "template.timeout")
	s.concurrency = r.count(f(template, "maxInstanceRequestConcurrency"), "template.maxInstanceRequestConcurrency")
	s.key = r.text(f(template, "encryptionKey"), "template.encryptionKey")
	s.revocation = gcloudName(r.text(f(template, "encryptionKeyRevocationAction"),
		"template.encryptionKeyRevocationAction"),
		revocationValues())
	r.v2Network(s, r.mayBeUnknown(f(template, "vpcAccess"), "template.vpcAccess"))
	r.v2Scaling(s, r.mayBeUnknown(f(n, "scaling"), "scaling"), r.mayBeUnknown(f(template, "scaling"),
		"template.scaling"), f)

	for i, c := range r.list(template.at("containers"), "template.containers") {
		path := fmt.Sprintf("template.containers[%d]", i)
		s.containers = append(s.containers, r.v2Container(c, path, sh, f))
		r.containerBuild(s, f(c, "buildConfig"), path+".buildConfig", f)
	}

	r.sandboxes(s, f(template, "sandboxes"),
		func(c *node, path string) container { return r.v2Container(c, path, sh, f) })

	for i, v := range r.list(template.at("volumes"), "template.volumes") {
		r.v2Volume(s, v, fmt.Sprintf("template.volumes[%d]", i), f)
	}

	own := r.text(template.at("revision"), "template.revision").text
	r.traffic(s, n.at("traffic"), "revision", own)
	r.traffic(s, listed(n, "instanceSplits"), "revision", own)
	r.v2Extras(s, n, template, f)
	r.ready(s, f(n, "latestCreatedRevision"), f(n, "latestReadyRevision"))
	s.partial, s.hidden = r.partial, r.hidden

	return s
}

// probeNames lists the probes of a container. A readiness probe restarts nothing,
// and so is no evidence for PROBES, but its headers may hold a secret.
func probeNames() []string { return []string{"startupProbe", "livenessProbe", "readinessProbe"} }

// v2Extras reads the settings outside of containers that newer versions of the
// API added.
func (r *reader) v2Extras(s *workload, n, template *node, f fieldOf) {
	s.shell = r.flag(f(n, "sshEnabled"), "sshEnabled")
	s.healthDisabled = r.flag(f(template, "healthCheckDisabled"), "template.healthCheckDisabled")

	// The name of such a service has the location "global".
	regions := listed(f(n, "multiRegionSettings"), "regions")
	if regions != nil && regions.kind == nodeUnknown {
		s.regions = []text{{unknown: true}}
	} else {
		for _, region := range r.list(regions, "multiRegionSettings.regions") {
			s.regions = append(s.regions, r.text(region, "multiRegionSettings.regions"))
		}
	}

	build := f(n, "buildConfig")
	if on := r.flag(f(build, "enableAutomaticUpdates"), "buildConfig.enableAutomaticUpdates"); on.text == "true" ||
		on.unknown {
		s.baseImages = on
	}

	if present(build) {
		s.builders = append(s.builders, r.text(f(build, "serviceAccount"), "buildConfig.serviceAccount"))
	}
	r.builtWith(s, listed(build, "environmentVariables"), "buildConfig.environmentVariables")

	execution := f(n, "template") // of a job, whose tasks have a template of their own
	for _, m := range []*node{n.at("annotations"), n.at("labels"), template.at("annotations"), template.at("labels"),
		execution.at("annotations"), execution.at("labels")} {
		s.annotated = append(s.annotated, pairs(m)...)
	}

	// A description is free text, which may hold a secret.
	if description := r.value(n.at("description"), "description"); description.text != "" || description.unknown {
		s.annotated = append(s.annotated, variable{name: "description", value: description})
	}
}

// sandboxes reads the templates of sandboxes, each of which is a further image that the workload starts.
func (r *reader) sandboxes(s *workload, n *node, read func(*node, string) container) {
	if n == nil {
		return
	}

	n = r.mapping(n, "sandboxes")
	for i, c := range r.list(n.at("templates"), "sandboxes.templates") {
		sandbox := read(c, fmt.Sprintf("sandboxes.templates[%d]", i))
		if sandbox.name == "" {
			sandbox.name = fmt.Sprintf("sandbox %d", i+1)
		}
		s.sandboxes++
		s.containers = append(s.containers, sandbox)
	}
}

// inlined reads source files that stand in the definition itself.
func (r *reader) inlined(c *container, n *node, path string) {
	for i, file := range r.list(n.at("sources"), path+".sources") {
		at := fmt.Sprintf("%s.sources[%d]", path, i)
		c.files = append(c.files, variable{name: r.value(file.at("filename"), at+".filename").text,
			value: r.value(file.at("content"), at+".content")})
	}
}

// present reports whether a block is there, or may be after apply.
func present(n *node) bool {
	return n != nil && (n.kind == nodeUnknown || n.kind == nodeMapping || n.kind == nodeList && len(n.items) > 0)
}

type fieldOf func(from *node, path ...string) *node

// gcloudName turns the name or number of an enum into gcloud's name. Any other
// value is marked as unknown, which no rule accepts.
func gcloudName(t text, names map[string]string) text {
	if to, ok := names[t.text]; ok {
		t.text = to
	} else if t.set {
		t.text = "unknown: " + t.text
	}
	return t
}

func (r *reader) v2Network(s *workload, vpc *node) {
	s.connector = r.text(vpc.at("connector"), "template.vpcAccess.connector")

	if interfaces := listed(vpc, "networkInterfaces"); interfaces != nil && interfaces.kind == nodeUnknown {
		s.network = text{unknown: true}
	} else if r.nonEmpty(interfaces, "template.vpcAccess.networkInterfaces") {
		s.network = direct(interfaces)
		for _, i := range interfaces.items {
			s.interfaces = append(s.interfaces,
				link{network: r.text(i.at("network"), "template.vpcAccess.networkInterfaces.network"),
					subnetwork: r.text(i.at("subnetwork"), "template.vpcAccess.networkInterfaces.subnetwork")})
		}
	}

	s.egress = gcloudName(r.text(vpc.at("egress"), "template.vpcAccess.egress"), egressValues())
}

// listed is a field that is a list itself, which blocks would be taken for.
func listed(from *node, name string) *node {
	if n := from.at(name); n != nil {
		return n
	}
	return from.at(snake(name))
}

func (r *reader) v2Scaling(s *workload, outer, inner *node, f fieldOf) {
	of := func(n *node, name string) count { return r.count(f(n, name), "scaling."+name) }
	s.min = larger(of(inner, "minInstanceCount"), of(outer, "minInstanceCount"))
	s.max = firstCount(of(inner, "maxInstanceCount"), of(outer, "maxInstanceCount"))

	switch mode := r.text(f(outer, "scalingMode"), "scaling.scalingMode"); {
	case scalingModes()[mode.text] == "manual":
		s.min = of(outer, "manualInstanceCount")
		s.max = s.min
	case mode.unknown && !isUnknown(outer): // the provider has a default for the block, and none for the mode
		s.modeUnknown = true
	}
}

func (r *reader) v2Container(n *node, path string, sh shape, f fieldOf) container {
	n = r.mapping(n, path)
	// One argument that is known only after apply makes the whole list so; only rules about secrets look at it.
	inputs := &reader{file: r.file}
	c := container{
		name: r.text(n.at("name"), path+".name").text, image: r.text(n.at("image"), path+".image"),
		baseImage: r.text(f(n, "baseImageUri"), path+".baseImageUri"),
		args: append(inputs.strings(n.at("command"), path+".command"),
			inputs.strings(n.at("args"), path+".args")...),
		launcher: present(f(n, "sandboxLauncher")),
	}
	if code := f(n, "sourceCode"); present(code) {
		c.source = "source code"
		inputs.inlined(&c, f(code, "inlinedSource"), path+".sourceCode.inlinedSource")
	}

	// Limits that are known only after apply leave the rest of the container known.
	limits := r.mayBeUnknown(sh.at(n, "resources", "limits"), path+".resources.limits")
	c.cpu = r.text(limits.at("cpu"), path+".resources.limits.cpu")
	c.memory = r.text(limits.at("memory"), path+".resources.limits.memory")
	c.port = r.nonEmpty(n.at("ports"), path+".ports")

	c.portUnknown = isUnknown(n.at("ports"))
	c.probes(f(n, "startupProbe"), f(n, "livenessProbe"))
	for _, probe := range probeNames() {
		inputs.probed(&c, f(n, probe), path+"."+probe, f)
	}

	for i, e := range inputs.list(n.at("env"), path+".env") {
		at := fmt.Sprintf("%s.env[%d]", path, i)
		e = inputs.mapping(e, at)
		v := inputs.variable(e, at)
		v.value = inputs.secretValue(e.at("value"), v.name, at+".value")
		if ref := inputs.mapping(f(e, "valueSource", "secretKeyRef"), at+".valueSource.secretKeyRef"); ref != nil {
			at += ".valueSource.secretKeyRef"
			v.secret = &secretRef{
				name: v.name, secret: inputs.text(ref.at("secret"), at+".secret").text,
				version: inputs.text(ref.at("version"), at+".version"),
			}
		}

		c.env = append(c.env, v)
	}

	// Only rules about secrets see that an input is open; its errors are the document's.
	c.unknownInputs, c.hidden = inputs.partial, inputs.hidden
	r.errs = append(r.errs, inputs.errs...)
	r.unrendered = append(r.unrendered, inputs.unrendered...)

	return c
}

func (r *reader) v2Volume(s *workload, v *node, path string, f fieldOf) {
	v = r.mapping(v, path)
	r.v2Mount(s, v, path, f)
	secret := r.mapping(f(v, "secret"), path+".secret")
	if secret == nil {
		return
	}

	ref := secretRef{name: r.text(v.at("name"), path+".name").text,
		secret: r.text(secret.at("secret"), path+".secret.secret").text}
	items := r.list(secret.at("items"), path+".secret.items")
	if len(items) == 0 {
		s.volumes = append(s.volumes, ref)
	}

	for _, item := range items {
		ref.version = r.text(item.at("version"), path+".secret.items.version")
		ref.path = r.text(item.at("path"), path+".secret.items.path").text
		s.volumes = append(s.volumes, ref)
	}
}
