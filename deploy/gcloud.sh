#!/usr/bin/env bash
# Installs the gate on Cloud Run without Terraform: the same resources with the
# same names, in one project except for the builds. Run it again after a change:
# services and secrets are updated, and everything else stays as it is. What
# others added by hand stays too: rules and enforcement of Binary Authorization's
# policy, members of IAM policies, rules of Cloud Armor. It needs gcloud, curl and jq.
#
#   PROJECT=acme REGION=us-east1 IMAGE=…@sha256:… PROXY_IMAGE=…@sha256:… \
#   API_HOST=gate.acme.example PAGES_HOST=gate-pages.acme.example READERS=group:security@acme.example \
#   CONFIG=attestor.yaml EVENTS_CONFIG=events.yaml POLICY=starter.yaml deploy/gcloud.sh [PART…]
#
# Parts, in order: apis network identities registry signing log encryption admission
# database services edge events. Without arguments, all of them. Two more parts: table makes
# what docs/events.md, "A table in BigQuery", needs, and prune the schedule of docs/record.md, "Retention". DRY_RUN=1 prints the commands and runs none.
set -euo pipefail
shopt -s inherit_errexit 2>/dev/null || true # a secret that could not be made ends the script; bash 4.4 and later

: "${PROJECT:?the project id}"
: "${REGION:=us-east1}"
: "${IMAGE:?the image of the gate, by digest}"
: "${PROXY_IMAGE:?gcr.io/cloud-sql-connectors/cloud-sql-proxy, by digest}"
: "${API_HOST:?the host of the API}"
: "${PAGES_HOST:?the host of the pages}"
: "${READERS:?who may read the pages, such as group:security@acme.example}"
: "${CONFIG:?the configuration of gate}"
: "${EVENTS_CONFIG:?the configuration of gate-events}"
: "${POLICY:?the policy; more of them need a mount each in cloudrun/*.yaml}"
: "${ONCALL:=}"  # who may break glass, such as group:oncall@acme.example; calls as gate-oncall
: "${SECURITY:=}" # who may read, simulate and revoke; calls as gate-security
: "${ENFORCEMENT:=}" # ENFORCED_BLOCK_AND_AUDIT_LOG or DRYRUN_AUDIT_LOG_ONLY; empty leaves what is in force, and begins in dry run
: "${DATABASE:=gate}" # the instance; another name after a deletion, since Cloud SQL reserves names for a week
: "${RUN_KEY=projects/$PROJECT/locations/$REGION/keyRings/run/cryptoKeys/gate}" # encrypts the services; empty for a key of Google's
: "${DRY_RUN:=}"

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
: "${TRUSTED_ROOT:=$here/policies/bases/trust/sigstore-public-good.json}" # what keyless signatures of bases are checked against
for image in "$IMAGE" "$PROXY_IMAGE"; do
	[[ $image =~ @sha256:[0-9a-f]{64}$ ]] || { echo "gcloud.sh: $image is not named by digest" >&2; exit 2; }
done

case $ENFORCEMENT in
"" | ENFORCED_BLOCK_AND_AUDIT_LOG | DRYRUN_AUDIT_LOG_ONLY) ;;
*) echo "gcloud.sh: ENFORCEMENT is $ENFORCEMENT: want ENFORCED_BLOCK_AND_AUDIT_LOG or DRYRUN_AUDIT_LOG_ONLY" >&2; exit 2 ;;
esac
if [[ -z $DRY_RUN ]]; then
	for tool in gcloud curl jq; do
		command -v "$tool" >/dev/null || { echo "gcloud.sh: $tool is not installed" >&2; exit 2; }
	done
fi

exec 3>&1 # where a dry run prints, whoever swallows a command's output

run() {
	if [[ -n $DRY_RUN ]]; then
		printf '%q ' gcloud "$@" --project "$PROJECT" --quiet >&3
		echo >&3
	else
		patiently gcloud "$@" --project "$PROJECT" --quiet
	fi
}

# patiently COMMAND…: runs it again, for two minutes, while an API refuses that was just enabled, IAM does not know a new
# account yet, or does not apply the grant of a secret.
patiently() {
	local attempt out
	for attempt in {1..13}; do
		if out=$("$@" 2>&1); then
			printf '%s\n' "$out"
			return
		fi
		[[ $attempt -lt 13 ]] || break
		case $out in
		*SERVICE_DISABLED* | *"has not been used in project"* | *"ccount "*" does not exist"* | *"Permission denied on secret"*) sleep 10 ;;
		*) break ;;
		esac
	done
	printf '%s\n' "$out" >&2
	return 1
}

# make DESCRIBE… -- CREATE…: runs CREATE if DESCRIBE fails.
make() {
	local describe=()
	while [[ $1 != -- ]]; do
		describe+=("$1")
		shift
	done
	shift
	if [[ -z $DRY_RUN ]] && gcloud "${describe[@]}" --project "$PROJECT" --quiet >/dev/null 2>&1; then
		echo "there already: ${describe[*]}"
		return
	fi
	[[ -n $DRY_RUN ]] || echo "making: ${describe[*]}"
	run "$@"
}

# sha256 prints the sum of its input; macOS has another program for it.
sha256() { if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi; }

number() {
	if [[ -n $DRY_RUN ]]; then echo 123456789012; else gcloud projects describe "$PROJECT" --format 'value(projectNumber)'; fi
}

# An account's name needs at least six letters.
account_id() { if [[ $1 == gate ]]; then echo gate-api; else echo "$1"; fi; }
account() { echo "$(account_id "$1")@$PROJECT.iam.gserviceaccount.com"; }
member() { echo "serviceAccount:$(account "$1")"; }

# agent SERVICE: creates Google's service agent. Enabling an API does not create it at once, and IAM refuses a member that
# does not exist.
agent() {
	run beta services identity create --service "$1" >/dev/null
}

# rest METHOD URL [BODY]: calls an API that gcloud has no command for.
rest() {
	local method=$1 url=$2 token
	token=$(gcloud auth print-access-token)
	# Not as an argument: whoever is logged in to this machine sees those.
	curl -sS --fail-with-body -X "$method" -H @<(printf 'Authorization: Bearer %s\n' "$token") -H 'Content-Type: application/json' \
		${3+-d "$3"} "$url"
}

grant_project() { # MEMBER ROLE
	run projects add-iam-policy-binding "$PROJECT" --member "$1" --role "$2" --condition None >/dev/null
}

apis() {
	run services enable run.googleapis.com compute.googleapis.com servicenetworking.googleapis.com sqladmin.googleapis.com \
		secretmanager.googleapis.com pubsub.googleapis.com cloudscheduler.googleapis.com iap.googleapis.com \
		monitoring.googleapis.com logging.googleapis.com cloudtrace.googleapis.com iamcredentials.googleapis.com \
		binaryauthorization.googleapis.com cloudkms.googleapis.com containeranalysis.googleapis.com storage.googleapis.com \
		iam.googleapis.com cloudresourcemanager.googleapis.com
	run services enable artifactregistry.googleapis.com containerscanning.googleapis.com ondemandscanning.googleapis.com cloudbuild.googleapis.com
}

network() {
	make compute networks describe gate -- compute networks create gate --subnet-mode custom
	make compute networks subnets describe gate --region "$REGION" -- compute networks subnets create gate \
		--region "$REGION" --network gate --range 10.10.0.0/24 --enable-private-ip-google-access --enable-flow-logs
	make compute addresses describe gate-egress --region "$REGION" -- compute addresses create gate-egress --region "$REGION"
	make compute routers describe gate --region "$REGION" -- compute routers create gate --region "$REGION" --network gate
	make compute routers nats describe gate --router gate --region "$REGION" -- compute routers nats create gate \
		--router gate --region "$REGION" --nat-external-ip-pool gate-egress --nat-all-subnet-ip-ranges --enable-logging
	make compute addresses describe gate-services --global -- compute addresses create gate-services \
		--global --purpose VPC_PEERING --prefix-length 20 --network gate
	# An update would replace the ranges of whoever else uses this network.
	if [[ -n $DRY_RUN || -z $(gcloud services vpc-peerings list --service servicenetworking.googleapis.com --network gate --project "$PROJECT" --format 'value(peering)') ]]; then
		run services vpc-peerings connect --service servicenetworking.googleapis.com --network gate --ranges gate-services
	fi
}

identities() {
	local name role
	for name in gate gate-events gate-pusher gate-builder gate-oncall gate-security; do
		make iam service-accounts describe "$(account "$name")" -- iam service-accounts create "$(account_id "$name")"
	done
	for name in gate gate-events; do
		# Connects to the database and logs in as its own account; writes spans and metrics.
		for role in cloudsql.client cloudsql.instanceUser cloudtrace.agent monitoring.metricWriter; do
			grant_project "$(member "$name")" "roles/$role"
		done
	done
	# Creates its own ID token inside a build; granted on this account only.
	run iam service-accounts add-iam-policy-binding "$(account gate-builder)" \
		--member "$(member gate-builder)" --role roles/iam.serviceAccountOpenIdTokenCreator >/dev/null
	grant_project "$(member gate-builder)" roles/logging.logWriter
	# People create ID tokens of these accounts, but no access tokens: their own ID tokens have another audience.
	if [[ -n $ONCALL ]]; then
		run iam service-accounts add-iam-policy-binding "$(account gate-oncall)" --member "$ONCALL" --role roles/iam.serviceAccountOpenIdTokenCreator >/dev/null
	fi
	if [[ -n $SECURITY ]]; then
		run iam service-accounts add-iam-policy-binding "$(account gate-security)" --member "$SECURITY" --role roles/iam.serviceAccountOpenIdTokenCreator >/dev/null
	fi
}

registry() {
	local name
	make artifacts repositories describe prod --location "$REGION" -- artifacts repositories create prod \
		--location "$REGION" --repository-format docker --immutable-tags
	for name in gate gate-events; do
		# Reads manifests and layers of this repository, and findings in this project.
		run artifacts repositories add-iam-policy-binding prod --location "$REGION" \
			--member "$(member "$name")" --role roles/artifactregistry.reader >/dev/null
		grant_project "$(member "$name")" roles/containeranalysis.occurrences.viewer
	done
	run artifacts repositories add-iam-policy-binding prod --location "$REGION" \
		--member "$(member gate-builder)" --role roles/artifactregistry.writer >/dev/null
}

# note creates the note and grants roles on it; gcloud has no command for this.
note() {
	local notes=https://containeranalysis.googleapis.com/v1/projects/$PROJECT/notes policy changed
	agent binaryauthorization.googleapis.com
	if [[ -n $DRY_RUN ]]; then
		echo "curl … $notes/gate"
		return
	fi
	if ! rest GET "$notes/gate" >/dev/null 2>&1; then
		rest POST "$notes?noteId=gate" '{"attestation": {"hint": {"humanReadableName": "Admission gate: gate"}}}' >/dev/null
	fi
	# attacher: attaches attestations (occurrences.editor does not include it). occurrences.viewer: finds existing attestations.
	policy=$(rest POST "$notes/gate:getIamPolicy" '{}')
	changed=$(jq -c --arg gate "$(member gate)" --arg events "$(member gate-events)" \
		--arg agent "serviceAccount:service-$(number)@gcp-sa-binaryauthorization.iam.gserviceaccount.com" '
		def grant($role; $members): .bindings = ((.bindings // []) | if any(.role == $role and .condition == null)
			then map(if .role == $role and .condition == null then .members = (.members + ($members - .members)) else . end)
			else . + [{role: $role, members: $members}] end);
		grant("roles/containeranalysis.notes.attacher"; [$gate, $events]) |
		grant("roles/containeranalysis.notes.occurrences.viewer"; [$gate, $events, $agent])' <<<"$policy")
	# The etag within makes the write fail where somebody else changed the policy since.
	if [[ $(jq -cS . <<<"$policy") != "$(jq -cS . <<<"$changed")" ]]; then
		patiently rest POST "$notes/gate:setIamPolicy" "{\"policy\": $changed}" >/dev/null
	fi
}

signing() {
	local name role
	make kms keyrings describe gate --location "$REGION" -- kms keyrings create gate --location "$REGION"
	make kms keys describe gate --keyring gate --location "$REGION" -- kms keys create gate --keyring gate --location "$REGION" \
		--purpose asymmetric-signing --default-algorithm ec-sign-p256-sha256 --protection-level hsm --destroy-scheduled-duration 30d
	note
	make container binauthz attestors describe gate -- container binauthz attestors create gate \
		--attestation-authority-note gate --attestation-authority-note-project "$PROJECT"
	if [[ -n $DRY_RUN ]] || [[ -z $(gcloud container binauthz attestors describe gate --project "$PROJECT" --format 'value(userOwnedGrafeasNote.publicKeys[].id)') ]]; then
		run container binauthz attestors public-keys add --attestor gate --keyversion 1 --keyversion-key gate \
			--keyversion-keyring gate --keyversion-location "$REGION" --keyversion-project "$PROJECT"
	fi
	for name in gate gate-events; do
		# Signs with this key and reads its public key.
		run kms keys add-iam-policy-binding gate --keyring gate --location "$REGION" \
			--member "$(member "$name")" --role roles/cloudkms.signerVerifier >/dev/null
		# Creates and deletes attestations; this role can be granted only on a project.
		grant_project "$(member "$name")" roles/containeranalysis.occurrences.editor
		# Reads the attestor, and lets Google validate attestations.
		for role in attestorsViewer attestorsVerifier; do
			run container binauthz attestors add-iam-policy-binding gate --member "$(member "$name")" --role "roles/binaryauthorization.$role" >/dev/null
		done
	done
}

# The key that signs the record's log, and the bucket that the log is copied to.
log() {
	local name bucket=$PROJECT-log
	make kms keyrings describe log --location "$REGION" -- kms keyrings create log --location "$REGION"
	make kms keys describe log --keyring log --location "$REGION" -- kms keys create log --keyring log --location "$REGION" \
		--purpose asymmetric-signing --default-algorithm ec-sign-ed25519 --destroy-scheduled-duration 30d
	# Tiles are never overwritten. The checkpoint is; a retention policy would forbid that, so earlier versions are kept.
	make storage buckets describe "gs://$bucket" -- storage buckets create "gs://$bucket" --location "$REGION" \
		--uniform-bucket-level-access --public-access-prevention --soft-delete-duration 90d
	run storage buckets update "gs://$bucket" --versioning
	for name in gate gate-events; do
		# Signs checkpoints with this key and reads its public key.
		run kms keys add-iam-policy-binding log --keyring log --location "$REGION" \
			--member "$(member "$name")" --role roles/cloudkms.signerVerifier >/dev/null
		# Compares the log with its copy; writes tiles, which this role cannot overwrite or delete.
		run storage buckets add-iam-policy-binding "gs://$bucket" --member "$(member "$name")" --role roles/storage.objectViewer --condition None >/dev/null
		run storage buckets add-iam-policy-binding "gs://$bucket" --member "$(member "$name")" --role roles/storage.objectCreator --condition None >/dev/null
		# Replaces the checkpoint, and no other object.
		run storage buckets add-iam-policy-binding "gs://$bucket" --member "$(member "$name")" --role roles/storage.objectUser \
			--condition "title=checkpoint,expression=resource.name == \"projects/_/buckets/$bucket/objects/$API_HOST/decisions/checkpoint\"" >/dev/null
	done
}

# Your own key that encrypts the services in Cloud Run; only Cloud Run may use it.
encryption() {
	[[ $RUN_KEY == "projects/$PROJECT/locations/$REGION/keyRings/run/cryptoKeys/gate" ]] || return 0
	make kms keyrings describe run --location "$REGION" -- kms keyrings create run --location "$REGION"
	make kms keys describe gate --keyring run --location "$REGION" -- kms keys create gate --keyring run --location "$REGION" \
		--purpose encryption --protection-level hsm --destroy-scheduled-duration 30d \
		--rotation-period 90d --next-rotation-time "$(date -u -d '+90 days' +%FT%TZ 2>/dev/null || date -u -v+90d +%FT%TZ)"
	agent run.googleapis.com
	run kms keys add-iam-policy-binding gate --keyring run --location "$REGION" \
		--member "serviceAccount:service-$(number)@serverless-robot-prod.iam.gserviceaccount.com" --role roles/cloudkms.cryptoKeyEncrypterDecrypter >/dev/null
}

# admission has Binary Authorization ask for the gate's attestation. The project has one policy, in which others have rules
# too: this adds to it. A new rule begins in dry run (violations are logged and admitted), and enforcement changes only where
# ENFORCEMENT names it.
admission() {
	local url=https://binaryauthorization.googleapis.com/v1/projects/$PROJECT/policy policy changed
	if [[ -n $DRY_RUN ]]; then
		echo "curl … $url: requireAttestationsBy projects/$PROJECT/attestors/gate, ${ENFORCEMENT:-DRYRUN_AUDIT_LOG_ONLY if it is new}"
		return
	fi
	policy=$(rest GET "$url")
	changed=$(jq -c --arg attestor "projects/$PROJECT/attestors/gate" --arg enforcement "$ENFORCEMENT" '
		{namePattern: "gcr.io/cloud-sql-connectors/cloud-sql-proxy@*"} as $proxy |
		.admissionWhitelistPatterns = ((.admissionWhitelistPatterns // []) | . + ([$proxy] - .)) |
		if .defaultAdmissionRule.evaluationMode == "ALWAYS_ALLOW" then
			.defaultAdmissionRule = {evaluationMode: "REQUIRE_ATTESTATION", requireAttestationsBy: [$attestor],
				enforcementMode: (if $enforcement == "" then "DRYRUN_AUDIT_LOG_ONLY" else $enforcement end)}
		elif $enforcement != "" and ((.defaultAdmissionRule.requireAttestationsBy // []) | index($attestor)) != null then
			.defaultAdmissionRule.enforcementMode = $enforcement
		else . end' <<<"$policy")
	if ! jq -e --arg attestor "projects/$PROJECT/attestors/gate" '(.defaultAdmissionRule.requireAttestationsBy // []) | index($attestor)' <<<"$changed" >/dev/null; then
		echo "gcloud.sh: the default rule of Binary Authorization was set by somebody else and does not ask for projects/$PROJECT/attestors/gate: it stays as it is; add the attestor to it yourself" >&2
		[[ -z $ENFORCEMENT ]] || return 1
	fi
	# The etag within makes the write fail where somebody else changed the policy since.
	if [[ $(jq -cS . <<<"$policy") != "$(jq -cS . <<<"$changed")" ]]; then
		rest PUT "$url" "$changed" >/dev/null
	fi
}

database() {
	local name
	make sql instances describe "$DATABASE" -- sql instances create "$DATABASE" --region "$REGION" --database-version POSTGRES_17 \
		--edition enterprise --tier db-custom-2-7680 --availability-type regional --no-assign-ip --network "projects/$PROJECT/global/networks/gate" \
		--ssl-mode TRUSTED_CLIENT_CERTIFICATE_REQUIRED --enable-point-in-time-recovery --backup-start-time 02:00 --retained-backups-count 30 \
		--deletion-protection --database-flags cloudsql.iam_authentication=on,cloudsql.enable_pgaudit=on,log_connections=on
	make sql databases describe gate --instance "$DATABASE" -- sql databases create gate --instance "$DATABASE"
	for name in gate gate-events; do
		make sql users describe "$(account_id "$name")@$PROJECT.iam" --instance "$DATABASE" -- \
			sql users create "$(account_id "$name")@$PROJECT.iam" --instance "$DATABASE" --type cloud_iam_service_account
	done
}

# secret NAME FILE ACCOUNT: adds a version if the text changed; prints the version's number.
secret() {
	local name=$1 file=$2 who=$3 old version
	if [[ -n $DRY_RUN ]]; then
		run secrets create "$name" --replication-policy user-managed --locations "$REGION"
		run secrets versions add "$name" --data-file "$file"
		echo 7
		return
	fi
	make secrets describe "$name" -- secrets create "$name" --replication-policy user-managed --locations "$REGION" >&2
	# Reads this one secret.
	run secrets add-iam-policy-binding "$name" --member "$who" --role roles/secretmanager.secretAccessor >/dev/null
	if old=$(gcloud secrets versions access latest --secret "$name" --project "$PROJECT" 2>/dev/null) && [[ $old == "$(cat "$file")" ]]; then
		version=$(gcloud secrets versions list "$name" --project "$PROJECT" --filter state=ENABLED --sort-by ~createTime --limit 1 --format 'value(name.basename())')
	else
		version=$(gcloud secrets versions add "$name" --project "$PROJECT" --data-file "$file" --format 'value(name.basename())')
	fi
	echo "$version"
}

# hash_key: creates the key that hashes callers in the logs of both services, once; prints its version's number.
hash_key() {
	local name version=
	make secrets describe gate-hash -- secrets create gate-hash --replication-policy user-managed --locations "$REGION" >&2
	for name in gate gate-events; do
		# Reads this one secret.
		run secrets add-iam-policy-binding gate-hash --member "$(member "$name")" --role roles/secretmanager.secretAccessor >/dev/null
	done
	if [[ -n $DRY_RUN ]]; then
		run secrets versions add gate-hash --data-file -
		echo 7
		return
	fi
	version=$(gcloud secrets versions list gate-hash --project "$PROJECT" --filter state=ENABLED --sort-by ~createTime --limit 1 --format 'value(name.basename())')
	[[ -n $version ]] || version=$(head -c 32 /dev/urandom | gcloud secrets versions add gate-hash --project "$PROJECT" --data-file - --format 'value(name.basename())')
	echo "$version"
}

# service NAME CONFIG HASH_VERSION: replaces the example's names in cloudrun/NAME.yaml.
service() {
	local name=$1 config=$2 hash_version=$3 dir config_version policy_version trust_version database_version
	dir=$(mktemp -d)
	printf 'postgres://%s%%40%s.iam@127.0.0.1:5432/gate?sslmode=disable' "$(account_id "$name")" "$PROJECT" >"$dir/dsn"
	config_version=$(secret "$name-config" "$config" "$(member "$name")")
	policy_version=$(secret "$name-policy-main" "$POLICY" "$(member "$name")")
	trust_version=$(secret "$name-file-trust" "$TRUSTED_ROOT" "$(member "$name")")
	database_version=$(secret "$name-database" "$dir/dsn" "$(member "$name")")
	sed \
		-e "s|us-east1-docker.pkg.dev/acme-images/gate/attestor@sha256:0\{64\}|$IMAGE|" \
		-e "s|gcr.io/cloud-sql-connectors/cloud-sql-proxy@sha256:1\{64\}|$PROXY_IMAGE|" \
		-e "s|{key: \"1\", path: attestor.yaml}|{key: \"$config_version\", path: attestor.yaml}|" \
		-e "s|{key: \"1\", path: policy.yaml}|{key: \"$policy_version\", path: policy.yaml}|" \
		-e "s|{key: \"1\", path: trusted_root.json}|{key: \"$trust_version\", path: trusted_root.json}|" \
		-e "s|{key: \"1\", path: dsn}|{key: \"$database_version\", path: dsn}|" \
		-e "s|{key: \"1\", path: key}|{key: \"$hash_version\", path: key}|" \
		-e "s|https://gate.acme.example|https://$API_HOST|" \
		-e "s|projects/acme-keys/locations/us-east1/keyRings/run/cryptoKeys/gate|$RUN_KEY|" \
		-e "s|acme-gate:us-east1:gate|$PROJECT:$REGION:$DATABASE|" -e "s|acme-gate|$PROJECT|g" -e "s|us-east1|$REGION|g" \
		"$here/cloudrun/$name.yaml" >"$dir/service.yaml"
	if [[ -z $RUN_KEY ]]; then
		sed -i.bak -e '/encryption-key: *$/d' -e '/post-key-revocation-action-type:/d' "$dir/service.yaml"
	fi
	if [[ -n $DRY_RUN ]]; then
		cat "$dir/service.yaml"
	fi
	run run services replace "$dir/service.yaml" --region "$REGION"
	rm -rf "$dir"
}

services() {
	local hash_version
	hash_version=$(hash_key)
	service gate "$CONFIG" "$hash_version"
	service gate-events "$EVENTS_CONFIG" "$hash_version"
	# Each calls one service; it also needs an entry in the gate's identity.callers.
	local name
	for name in gate-builder gate-oncall gate-security; do
		run run services add-iam-policy-binding gate --region "$REGION" --member "$(member "$name")" --role roles/run.invoker >/dev/null
	done
	run run services add-iam-policy-binding gate-events --region "$REGION" --member "$(member gate-pusher)" --role roles/run.invoker >/dev/null
}

armor() { # POLICY EXEMPTION
	local policy=$1 exemption=$2
	make compute security-policies describe "$policy" -- compute security-policies create "$policy"
	make compute security-policies rules describe 1000 --security-policy "$policy" -- compute security-policies rules create 1000 --security-policy "$policy" \
		--expression "${exemption}evaluatePreconfiguredWaf('sqli-v33-stable', {'sensitivity': 1})" --action deny-403
	make compute security-policies rules describe 1001 --security-policy "$policy" -- compute security-policies rules create 1001 --security-policy "$policy" \
		--expression "${exemption}evaluatePreconfiguredWaf('xss-v33-stable', {'sensitivity': 1})" --action deny-403
}

edge() {
	armor gate-api "!request.path.matches('^/v1/(simulate|posture)\$') && "
	armor gate-pages ""
	# Builds share one address: throttle it, and never ban it. The gate limits each caller itself. The Authorization header is
	# no key here: Cloud Armor reads its first 128 bytes, which are the same in all ID tokens, and whoever varies it escapes.
	make compute security-policies rules describe 2000 --security-policy gate-api -- compute security-policies rules create 2000 --security-policy gate-api \
		--src-ip-ranges '*' --action throttle --rate-limit-threshold-count 3000 --rate-limit-threshold-interval-sec 60 \
		--conform-action allow --exceed-action deny-429 --enforce-on-key ip
	make compute security-policies rules describe 2000 --security-policy gate-pages -- compute security-policies rules create 2000 --security-policy gate-pages \
		--src-ip-ranges '*' --action rate-based-ban --rate-limit-threshold-count 100 --rate-limit-threshold-interval-sec 60 \
		--ban-duration-sec 600 --conform-action allow --exceed-action deny-429 --enforce-on-key ip
	if [[ -n $DRY_RUN || -z $(gcloud compute security-policies describe gate-api --project "$PROJECT" --format 'value(advancedOptionsConfig.jsonParsing)') ]]; then
		run compute security-policies update gate-api --json-parsing STANDARD
	fi

	make compute addresses describe gate-edge --global -- compute addresses create gate-edge --global
	make compute ssl-policies describe gate-edge -- compute ssl-policies create gate-edge --profile RESTRICTED --min-tls-version 1.2
	# A certificate cannot be changed: other hosts get another one, and the old one serves until it is valid.
	local certificate certificates
	certificate=gate-edge-$(printf '%s,%s' "$API_HOST" "$PAGES_HOST" | sha256 | cut -c 1-8)
	make compute ssl-certificates describe "$certificate" -- compute ssl-certificates create "$certificate" --domains "$API_HOST,$PAGES_HOST" --global
	make compute network-endpoint-groups describe gate --region "$REGION" -- compute network-endpoint-groups create gate \
		--region "$REGION" --network-endpoint-type serverless --cloud-run-service gate
	local backend
	for backend in gate-api gate-pages; do
		make compute backend-services describe "$backend" --global -- compute backend-services create "$backend" --global \
			--load-balancing-scheme EXTERNAL_MANAGED --protocol HTTPS --enable-logging --logging-sample-rate 1
		# Asked for by itself: a run that was stopped may have left a service without it.
		if [[ -n $DRY_RUN || -z $(gcloud compute backend-services describe "$backend" --global --project "$PROJECT" --format 'value(backends[].group)') ]]; then
			run compute backend-services add-backend "$backend" --global --network-endpoint-group gate --network-endpoint-group-region "$REGION"
		fi
		# A policy that somebody chose stays.
		if [[ -n $DRY_RUN || -z $(gcloud compute backend-services describe "$backend" --global --project "$PROJECT" --format 'value(securityPolicy)') ]]; then
			run compute backend-services update "$backend" --global --security-policy "$backend"
		fi
	done
	run compute backend-services update gate-pages --global --iap enabled
	# On the pages' host, IAP is Cloud Run's caller.
	agent iap.googleapis.com
	run run services add-iam-policy-binding gate --region "$REGION" \
		--member "serviceAccount:service-$(number)@gcp-sa-iap.iam.gserviceaccount.com" --role roles/run.invoker >/dev/null
	run iap web add-iam-policy-binding --resource-type backend-services --service gate-pages --member "$READERS" --role roles/iap.httpsResourceAccessor >/dev/null
	make compute url-maps describe gate-edge --global -- compute url-maps create gate-edge --global --default-service gate-pages
	# Each by itself: without the first one the API's host would lead to the pages.
	local matchers=
	[[ -n $DRY_RUN ]] || matchers=$(gcloud compute url-maps describe gate-edge --global --project "$PROJECT" --format 'value(pathMatchers[].name)')
	matchers=" ${matchers//[;,]/ } "
	if [[ $matchers != *" api "* ]]; then
		run compute url-maps add-path-matcher gate-edge --global --path-matcher-name api --default-service gate-api --new-hosts "$API_HOST"
	fi
	if [[ $matchers != *" pages "* ]]; then
		run compute url-maps add-path-matcher gate-edge --global --path-matcher-name pages --default-service gate-pages --new-hosts "$PAGES_HOST"
	fi
	make compute target-https-proxies describe gate-edge --global -- compute target-https-proxies create gate-edge \
		--global --url-map gate-edge --ssl-certificates "$certificate" --ssl-policy gate-edge
	if [[ -z $DRY_RUN ]]; then
		certificates=$(gcloud compute target-https-proxies describe gate-edge --global --project "$PROJECT" --format 'value(sslCertificates.map().basename().list(separator=","))')
		if [[ ",$certificates," != *",$certificate,"* ]]; then
			run compute target-https-proxies update gate-edge --global --ssl-certificates "$certificate,$certificates"
		fi
	fi
	make compute forwarding-rules describe gate-edge --global -- compute forwarding-rules create gate-edge \
		--global --load-balancing-scheme EXTERNAL_MANAGED --address gate-edge --target-https-proxy gate-edge --ports 443
}

# events_uri is the address of gate-events.
events_uri() {
	if [[ -n $DRY_RUN ]]; then
		echo "https://gate-events-123456789012.$REGION.run.app"
	else
		gcloud run services describe gate-events --region "$REGION" --project "$PROJECT" --format 'value(status.url)'
	fi
}

events() {
	local topic uri pubsub subscription
	agent pubsub.googleapis.com
	pubsub="serviceAccount:service-$(number)@gcp-sa-pubsub.iam.gserviceaccount.com"
	uri=$(events_uri)
	make pubsub topics describe gate-dead -- pubsub topics create gate-dead --message-retention-duration 7d
	make pubsub subscriptions describe gate-dead -- pubsub subscriptions create gate-dead --topic gate-dead --message-retention-duration 7d --expiration-period never
	# Pub/Sub's service agent moves dead letters, and creates the tokens of the one account that it calls as.
	run pubsub topics add-iam-policy-binding gate-dead --member "$pubsub" --role roles/pubsub.publisher >/dev/null
	run iam service-accounts add-iam-policy-binding "$(account gate-pusher)" --member "$pubsub" --role roles/iam.serviceAccountTokenCreator >/dev/null
	# Google creates container-analysis-occurrences-v1 with the API, unless an organization policy demands a customer-managed
	# key; cloud-builds and gcr are ours to create. The last topic is gate-events' own: a re-judging run publishes there.
	for topic in cloud-builds container-analysis-occurrences-v1 gcr gate-rejudge; do
		subscription=gate-${topic#gate-}
		make pubsub topics describe "$topic" -- pubsub topics create "$topic"
		make pubsub subscriptions describe "$subscription" -- pubsub subscriptions create "$subscription" --topic "$topic" \
			--push-endpoint "$uri/v1/events" --push-auth-service-account "$(account gate-pusher)" --push-auth-token-audience "$uri" \
			--ack-deadline 70 --min-retry-delay 10s --max-retry-delay 600s --dead-letter-topic gate-dead --max-delivery-attempts 30 --expiration-period never
		run pubsub subscriptions add-iam-policy-binding "$subscription" --member "$pubsub" --role roles/pubsub.subscriber >/dev/null
	done
	run pubsub topics add-iam-policy-binding gate-rejudge --member "serviceAccount:$(account gate-events)" --role roles/pubsub.publisher >/dev/null
	make scheduler jobs describe gate-rejudge --location "$REGION" -- scheduler jobs create http gate-rejudge --location "$REGION" \
		--schedule '17 3 * * *' --time-zone Etc/UTC --uri "$uri/v1/rejudge" --http-method post --headers Content-Type=application/json \
		--oidc-service-account-email "$(account gate-pusher)" --oidc-token-audience "$uri" --attempt-deadline 120s --max-retry-attempts 3
	# Overrides end when their policy says, give or take these five minutes.
	make scheduler jobs describe gate-expire --location "$REGION" -- scheduler jobs create http gate-expire --location "$REGION" \
		--schedule '*/5 * * * *' --time-zone Etc/UTC --uri "$uri/v1/expire" --http-method post --headers Content-Type=application/json \
		--oidc-service-account-email "$(account gate-pusher)" --oidc-token-audience "$uri" --attempt-deadline 120s --max-retry-attempts 1
}

# table makes the topic of rows, and the BigQuery table that Pub/Sub writes from it.
table() {
	local agent name
	agent="service-$(number)@gcp-sa-pubsub.iam.gserviceaccount.com"
	run services enable bigquery.googleapis.com
	agent pubsub.googleapis.com
	make pubsub schemas describe gate-rows -- pubsub schemas create gate-rows --type protocol-buffer --definition-file "$here/../docs/schema/row.proto"
	make pubsub topics describe gate-rows -- pubsub topics create gate-rows --schema gate-rows --message-encoding json
	for name in gate gate-events; do
		run pubsub topics add-iam-policy-binding gate-rows --member "$(member "$name")" --role roles/pubsub.publisher >/dev/null
	done
	bigquery mk --force --dataset "$PROJECT:gate"
	bigquery mk --force --table --schema "$here/../docs/schema/row.bigquery.json" --time_partitioning_field time "$PROJECT:gate.decisions"
	# Pub/Sub's service agent writes to this table and no other.
	bigquery add-iam-policy-binding --member "serviceAccount:$agent" --role roles/bigquery.dataEditor "$PROJECT:gate.decisions"
	make pubsub subscriptions describe gate-rows -- pubsub subscriptions create gate-rows --topic gate-rows \
		--bigquery-table "$PROJECT:gate.decisions" --use-topic-schema --message-retention-duration 7d --expiration-period never
}

# prune makes the schedule that deletes decisions which are older than store.retention of the configuration: a run works for
# 90 seconds, and the next one goes on.
prune() {
	local uri
	uri=$(events_uri)
	make scheduler jobs describe gate-prune --location "$REGION" -- scheduler jobs create http gate-prune --location "$REGION" \
		--schedule '*/10 2 * * *' --time-zone Etc/UTC --uri "$uri/v1/prune" --http-method post --headers Content-Type=application/json \
		--oidc-service-account-email "$(account gate-pusher)" --oidc-token-audience "$uri" --attempt-deadline 180s --max-retry-attempts 1
}

# bigquery runs bq, gcloud's own program for BigQuery.
bigquery() {
	if [[ -n $DRY_RUN ]]; then
		printf '%q ' bq --project_id "$PROJECT" --quiet "$@" >&3
		echo >&3
	else
		bq --project_id "$PROJECT" --quiet "$@"
	fi
}

all=(apis network identities registry signing log encryption admission database services edge events)
if [[ $# -eq 0 ]]; then
	set -- "${all[@]}"
fi
for part in "$@"; do
	[[ " ${all[*]} table prune " == *" $part "* ]] || { echo "gcloud.sh: no part $part: there are ${all[*]} table prune" >&2; exit 2; }
	echo "== $part"
	"$part"
done
