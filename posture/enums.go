package posture

// The values of the v2 API's enums, as its discovery document has them, by gcloud's names. Answers with
// enum-encoding=int have the numbers of the same values. TestEnumsOfTheAPI holds them against that document.

func ingressValues() map[string]string {
	return map[string]string{
		"INGRESS_TRAFFIC_UNSPECIFIED": "all", "INGRESS_TRAFFIC_ALL": "all", "INGRESS_TRAFFIC_INTERNAL_ONLY": "internal",
		"INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER": "internal-and-cloud-load-balancing", "INGRESS_TRAFFIC_NONE": "none",
		"0": "all", "1": "all", "2": "internal", "3": "internal-and-cloud-load-balancing", "4": "none",
	}
}

func egressValues() map[string]string {
	return map[string]string{
		"VPC_EGRESS_UNSPECIFIED": "private-ranges-only", "ALL_TRAFFIC": "all-traffic",
		"PRIVATE_RANGES_ONLY": "private-ranges-only",
		"0":                   "private-ranges-only", "1": "all-traffic", "2": "private-ranges-only",
	}
}

func revocationValues() map[string]string {
	return map[string]string{
		"ENCRYPTION_KEY_REVOCATION_ACTION_UNSPECIFIED": "", "PREVENT_NEW": "prevent-new", "SHUTDOWN": "shut-down",
		"prevent-new": "prevent-new", "shut-down": "shut-down", // as annotations have them
		"0": "", "1": "prevent-new", "2": "shut-down",
	}
}

func scalingModes() map[string]string {
	return map[string]string{"SCALING_MODE_UNSPECIFIED": "automatic", "AUTOMATIC": "automatic", "MANUAL": "manual",
		"0": "automatic", "1": "automatic", "2": "manual"}
}

func identityTypes() map[string]string {
	return map[string]string{"IDENTITY_TYPE_UNSPECIFIED": "account", "IDENTITY_TYPE_SERVICE_ACCOUNT": "account",
		"IDENTITY_TYPE_AGENT_IDENTITY": "agent",
		"agent-identity":               "agent", "service-account": "account", // as annotations have them
		"0": "account", "1": "account", "2": "agent"}
}
