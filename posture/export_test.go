package posture

// Enums are the values of the API's enums that are read, by the field that has them.
func Enums() map[string]map[string]string {
	return map[string]map[string]string{
		"GoogleCloudRunV2Service.ingress": ingressValues(), "GoogleCloudRunV2Instance.ingress": ingressValues(),
		"GoogleCloudRunV2VpcAccess.egress": egressValues(), "GoogleCloudRunV2ServiceScaling.scalingMode": scalingModes(),
		"GoogleCloudRunV2WorkloadIdentityConfig.identityType": identityTypes(),

		"GoogleCloudRunV2Instance.encryptionKeyRevocationAction":                   revocationValues(),
		"GoogleCloudRunV2RevisionTemplate.encryptionKeyRevocationAction":           revocationValues(),
		"GoogleCloudRunV2WorkerPoolRevisionTemplate.encryptionKeyRevocationAction": revocationValues(),
	}
}

// JudgedTypes are Terraform's types of the resources that some rule is about, workloads included.
func JudgedTypes() map[string]bool {
	out := judgedTypes()
	for kind := range workloadTypes() {
		out[kind] = true
	}

	return out
}
