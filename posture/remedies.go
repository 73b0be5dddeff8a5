package posture

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
)

// Remedies that repeat names of the definition: of secrets, volumes and containers. A name that a shell, YAML or HCL
// would read otherwise is replaced by a placeholder.

var plainWords = regexp.MustCompile(`^[A-Za-z0-9_/][A-Za-z0-9_./-]*$`)

// plainWord returns a name that stands for itself in a shell, in YAML and in HCL, or else the placeholder.
func plainWord(s, placeholder string) string {
	if !plainWords.MatchString(s) {
		return placeholder
	}
	return s
}

// mostRemedied bounds how many faults of one finding a remedy clears; the message lists as many.
const mostRemedied = 8

// containersOf names the containers of faults, which a command and a snippet need where there are several.
func containersOf(s *workload, names ...string) []string {
	var out []string
	for _, name := range names {
		if name = containerOf(s, name); name != "" && !slices.Contains(out, name) && len(out) < mostRemedied {
			out = append(out, name)
		}
	}

	return out
}

func subjectsOf(faults []fault) []string {
	var out []string
	for _, f := range faults {
		out = append(out, f.subject)
	}

	return out
}

// A taken secret is one that a workload takes, in a variable of a container or in a volume.
type taken struct {
	secretRef
	container  string
	inVariable bool
}

// secretsTaken are the secrets of a workload: those of volumes, then those of variables.
func (s *workload) secretsTaken() []taken {
	var out []taken
	for _, v := range s.volumes {
		out = append(out, taken{secretRef: v})
	}

	for _, c := range s.containers {
		for _, v := range c.env {
			if v.secret != nil {
				out = append(out, taken{secretRef: *v.secret, container: c.name, inVariable: true})
			}
		}
	}

	return out
}

func (t taken) secretName() string { return plainWord(t.secret, "SECRET") }

// number is the version, where it is one, or else a first choice.
func (t taken) number() string {
	if last := lastPart(t.version.text); isNumber(last) {
		return last
	}
	return "1"
}

// pinnedAt is the remedy for secrets that are taken at no fixed version: the same variables and volumes, at a number.
func pinnedAt(s *workload, all []taken) remedy {
	all = all[:min(len(all), mostRemedied)]

	var flags, holders []string
	var envK, envF, volumesK, volumesF []any
	for _, t := range all {
		secret, version := t.secretName(), t.number()
		holders = append(holders, t.container)

		if t.inVariable {
			name := variableName(t.name)
			flags = append(flags, name+"="+secret+":"+version)
			envK = append(envK, map[string]any{"name": name, "valueFrom": map[string]any{"secretKeyRef": map[string]any{
				"name": secret, "key": version}}})
			envF = append(envF, map[string]any{"name": name, "valueSource": map[string]any{
				"secretKeyRef": map[string]any{"secret": secret, "version": version}}})
			continue
		}

		// The path of the mount is in the container, and that of the file in the volume.
		name, path := plainWord(t.name, "NAME"), plainWord(cmp.Or(t.path, lastPart(t.secret)), "NAME")
		flags = append(flags, "/MOUNT/"+path+"="+secret+":"+version)
		volumesK = append(volumesK, map[string]any{"name": name, "secret": map[string]any{"secretName": secret,
			"items": []any{map[string]any{"key": version, "path": path}}}})
		volumesF = append(volumesF, map[string]any{"name": name, "secret": map[string]any{"secret": secret,
			"items": []any{map[string]any{"version": version, "path": path}}}})
	}

	m := remedy{flag: "--update-secrets=" + strings.Join(flags, ","), containers: containersOf(s, holders...)}
	if len(envK) > 0 {
		m.knative = append(m.knative, revisionField(envK, "containers", "[]", "env").toFill())
		m.fields = append(m.fields, field(envF, "template", "containers", "[]", "env").toFill())
		m.function = block("service_config", block("secret_environment_variables",
			`key        = "`+variableName(all[len(all)-1].name)+`"`, `project_id = "PROJECT"`,
			`secret     = "`+all[len(all)-1].secretName()+`"`, `version    = "1"`))
	}
	if len(volumesK) > 0 {
		m.knative = append(m.knative, revisionField(volumesK, "volumes").toFill())
		m.fields = append(m.fields, field(volumesF, "template", "volumes").toFill())
		m.function = cmp.Or(m.function, block("service_config", block("secret_volumes",
			block("versions", `version = "1"`, `path    = "`+plainWord(all[0].path, "NAME")+`"`))))
	}

	return m
}

// mountedAsFiles is the remedy for secrets in the environment: a volume for each, and no variable.
func mountedAsFiles(s *workload, all []taken) remedy {
	all = all[:min(len(all), mostRemedied)]

	var m remedy
	var gone, flags, holders []string
	var volumesK, volumesF, mounts []any
	for _, t := range all {
		name, secret, version := variableName(t.name), t.secretName(), t.number()
		volume := plainWord(strings.Trim(strings.ToLower(strings.ReplaceAll(name, "_", "-")), "-"), "name")
		gone, holders = append(gone, name), append(holders, t.container)
		flags = append(flags, "/secrets/"+volume+"/"+name+"="+secret+":"+version)
		mounts = append(mounts, map[string]any{"name": volume, "mountPath": "/secrets/" + volume})
		volumesK = append(volumesK, map[string]any{"name": volume, "secret": map[string]any{"secretName": secret,
			"items": []any{map[string]any{"key": version, "path": name}}}})
		volumesF = append(volumesF, map[string]any{"name": volume, "secret": map[string]any{"secret": secret,
			"items": []any{map[string]any{"version": version, "path": name}}}})
		m.knative = append(m.knative, without(revisionField(nil, "containers", "[]", "env", "["+name+"]")).toFill())
		m.fields = append(m.fields, without(field(nil, "template", "containers", "[]", "env", "["+name+"]")).toFill())
	}

	m.flag = "--remove-secrets=" + strings.Join(gone, ",") + " --update-secrets=" + strings.Join(flags, ",")
	m.containers = containersOf(s, holders...)
	m.knative = append(m.knative, revisionField(volumesK, "volumes").toFill(),
		revisionField(mounts, "containers", "[]", "volumeMounts").toFill())
	m.fields = append(m.fields, field(volumesF, "template", "volumes").toFill(),
		field(mounts, "template", "containers", "[]", "volumeMounts").toFill())
	m.function = block("service_config", block("secret_volumes", `mount_path = "/secrets"`, `project_id = "PROJECT"`,
		`secret     = "`+all[0].secretName()+`"`, block("versions", `version = "1"`, `path    = "`+gone[0]+`"`)))

	return m
}

// mountedReadOnly is the remedy for volumes that are mounted for writing.
func mountedReadOnly(all []mount) remedy {
	var flags []string
	var knative, fields []any
	for _, v := range all[:min(len(all), mostRemedied)] {
		name := plainWord(v.name, "NAME")
		reads := map[string]any{"readOnly": true}

		if v.kind == mountShare {
			flags = append(flags, "--add-volume=name="+name+",type=nfs,location="+plainWord(v.source.text, "SERVER")+
				":/PATH,readonly=true")
			knative = append(knative, map[string]any{"name": name, "nfs": reads})
			fields = append(fields, map[string]any{"name": name, "nfs": reads})
			continue
		}

		flags = append(flags, "--add-volume=name="+name+",type=cloud-storage,bucket="+
			plainWord(v.source.text, "BUCKET")+",readonly=true")
		knative = append(knative, map[string]any{"name": name, "csi": map[string]any{"driver": gcsDriver,
			"readOnly": true}})
		fields = append(fields, map[string]any{"name": name, "gcs": reads})
	}

	return remedy{flag: strings.Join(flags, " "), knative: []edit{revisionField(knative, "volumes").toFill()},
		fields: []edit{field(fields, "template", "volumes").toFill()}}
}
