package posture

import "fmt"

// function reads google_cloudfunctions2_function: a service of Cloud Run that is built from source. The names of its
// settings are those of Cloud Functions.
func (r *reader) function(n *node) *workload {
	s := &workload{kind: kindFunction, file: r.file, line: n.line, form: formFunction}
	s.name = r.text(n.at("name"), "name").text
	s.key = r.text(n.at("kms_key_name"), "kms_key_name")
	service := r.mapping(n.block("service_config"), "service_config")
	at := func(name string) text { return r.text(service.at(name), "service_config."+name) }

	// "ALLOW_ALL" is the default.
	s.ingress = gcloudName(at("ingress_settings"),
		map[string]string{"ALLOW_ALL": "all", "ALLOW_INTERNAL_ONLY": "internal",
			"ALLOW_INTERNAL_AND_GCLB": "internal-and-cloud-load-balancing"})
	s.account = at("service_account_email")
	s.connector = at("vpc_connector")
	s.egress = gcloudName(at("vpc_connector_egress_settings"), map[string]string{"ALL_TRAFFIC": "all-traffic",
		"PRIVATE_RANGES_ONLY": "private-ranges-only"})

	// An interface that is known only after apply may lead to any network.
	if interfaces := service.at("direct_vpc_network_interface"); interfaces != nil && interfaces.kind == nodeUnknown {
		s.network = text{unknown: true}
	} else if r.nonEmpty(interfaces, "service_config.direct_vpc_network_interface") {
		s.network = direct(interfaces)
		s.egress = gcloudName(at("direct_vpc_egress"), map[string]string{"VPC_EGRESS_ALL_TRAFFIC": "all-traffic",
			"VPC_EGRESS_PRIVATE_RANGES_ONLY": "private-ranges-only"})
		for _, i := range interfaces.items {
			s.interfaces = append(s.interfaces,
				link{network: r.text(i.at("network"), "service_config.direct_vpc_network_interface.network"),
					subnetwork: r.text(i.at("subnetwork"), "service_config.direct_vpc_network_interface.subnetwork")})
		}
	}

	s.binauthz = at("binary_authorization_policy")
	s.min = r.count(service.at("min_instance_count"), "service_config.min_instance_count")
	s.max = r.count(service.at("max_instance_count"), "service_config.max_instance_count")
	s.timeout = r.seconds(service.at("timeout_seconds"), "service_config.timeout_seconds")
	s.concurrency = r.count(service.at("max_instance_request_concurrency"),
		"service_config.max_instance_request_concurrency")

	// Traffic that stays on an older revision runs other code than this definition says.
	if latest := r.flag(service.at("all_traffic_on_latest_revision"),
		"service_config.all_traffic_on_latest_revision"); latest.text == "false" {
		s.otherRevisions = []string{"an older revision"}
	} else {
		s.trafficUnknown = latest.unknown
	}

	s.containers = []container{r.functionContainer(service)}
	for i, v := range r.list(service.at("secret_volumes"), "service_config.secret_volumes") {
		r.functionVolume(s, v, fmt.Sprintf("service_config.secret_volumes[%d]", i))
	}

	// "on_deploy_update_policy" keeps the base image that was built upon; an automatic
	// one replaces it while the function runs.
	build := r.mapping(n.block("build_config"), "build_config")
	if automatic := listed(build, "automatic_update_policy"); isUnknown(automatic) {
		s.baseImages = text{unknown: true}
	} else if automatic != nil && automatic.kind == nodeList && len(automatic.items) > 0 {
		s.baseImages = text{set: true, text: "automatic_update_policy"}
	}

	s.builders = []text{r.text(build.at("service_account"), "build_config.service_account")}
	r.builtWith(s, listed(build, "environment_variables"), "build_config.environment_variables")
	s.annotated = append(s.annotated, pairs(n.at("labels"))...)
	s.partial, s.hidden = r.partial, r.hidden

	return s
}

// functionContainer is the one container of a function. Its image is built at deployment, and no definition names it.
func (r *reader) functionContainer(service *node) container {
	c := container{name: "function", source: "source code",
		cpu:    r.text(service.at("available_cpu"), "service_config.available_cpu"),
		memory: r.text(service.at("available_memory"), "service_config.available_memory"),
	}

	variables := service.at("environment_variables")
	c.unknownInputs = variables != nil && variables.kind == nodeUnknown

	for _, name := range sortedFields(variables) {
		c.env = append(c.env, variable{name: name,
			value: r.secretValue(variables.fields[name], name, "service_config.environment_variables."+name)})
	}

	for i, e := range r.list(service.at("secret_environment_variables"),
		"service_config.secret_environment_variables") {
		at := fmt.Sprintf("service_config.secret_environment_variables[%d]", i)
		name := r.text(e.at("key"), at+".key").text
		c.env = append(c.env, variable{name: name, secret: &secretRef{name: name,
			secret: r.text(e.at("secret"), at+".secret").text, version: r.text(e.at("version"), at+".version")}})
	}

	return c
}

func (r *reader) functionVolume(s *workload, v *node, path string) {
	ref := secretRef{name: r.text(v.at("mount_path"), path+".mount_path").text,
		secret: r.text(v.at("secret"), path+".secret").text}
	versions := r.list(v.at("versions"), path+".versions")
	if len(versions) == 0 {
		s.volumes = append(s.volumes, ref) // without versions the latest is mounted
	}

	for _, item := range versions {
		ref.version = r.text(item.at("version"), path+".versions.version")
		ref.path = r.text(item.at("path"), path+".versions.path").text
		s.volumes = append(s.volumes, ref)
	}
}
