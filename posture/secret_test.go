package posture_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/posture"
	"github.com/attestor-gate/attestor/report"
)

func TestSecretsByReference(t *testing.T) {
	for _, tt := range []struct {
		name, value string
		secret      bool
	}{
		{"DB_PASSWORD", "x", true},
		{"dbPassword", "hunter2", true},
		{"PASSWORD", "1234", true},
		{"API_KEY", "abc", true},
		{"STRIPE_APIKEY", "abc", true},
		{"SESSION_SECRET", "abc", true},
		{"GITHUB_TOKEN", "abc", true},
		{"DATABASE_URL", "postgres://u:p@10.0.0.3/db", true},
		{"REDIS", "redis://:p@10.0.0.3:6379", true},
		{"CONN", "Server=db;Password=p;", true},
		{"CONFIG", `{"type": "service_account", "project_id": "p"}`, true},
		{"PEM", "-----BEGIN RSA PRIVATE KEY-----", true},
		{"MAPS", "AIza" + strings.Repeat("a", 35), true},
		{"JWT", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl", true},
		{"OTHER", "q8Zr1VtYw0Xn5LsKd2Jc7Hg4", true},
		{"OTHER", "9f86d081884c7d659a2feaa0c55ad015", true},
		{"HOOK", "https://hooks.example.com/services/T0a1B2c3D/q8Zr1VtYw0Xn5LsKd2Jc7Hg4", true},
		{"API_KEYS", "abc,def", true},
		{"SERVICE_ACCESS_TOKENS", "abc", true},
		{"MAX_TOKENS", "4096", false},
		{"VARIABLES", `[{"name": "DB_PASSWORD", "value": "hunter2"}]`, true},
		{"VARIABLES", `[{"name": "DB_PASSWORD", "value": "sm://p/db"}, {"name": "LOG_LEVEL", "value": "info"}]`, false},
		{"CONFIG", `{"inner": "{\"password\": \"hunter2\"}"}`, true},
		{"CONFIG", `{"inner": "{\"inner\": \"{}\"}"}`, false},
		{"NPMRC", "//npm.example/:_authToken=abc", true},
		{"DB_PASSWORD", "$(OTHER)", false},
		{"DB_PASSWORD_FILE", "/secrets/db/password", false},
		{"DB_PASSWORD", "", false},
		{"DB_PASSWORD", "projects/p/secrets/db/versions/3", false},
		{"DB_PASSWORD", "sm://p/db", false},
		{"SECRET_NAME", "db", false},
		{"TOKEN_URL", "https://oauth2.example.com/token", false},
		{"TOKEN_TTL", "3600", false},
		{"AUTH_TOKEN_ENABLED", "true", false},
		{"MONKEY", "banana", false},
		{"KEYBOARD", "qwerty", false},
		{"IMAGE", "gcr.io/p/a@sha256:4fdb4c4a4b7d7e6ed1a1f2e0f1a37d1ce1b4ef0a2b8dd7e1e2b5f37cb1d1a0c3", false},
		{"TENANT", "5e5b7b1e-6c8e-4bb4-9d5e-27b6b5fd4b7a", false},
		{"OWNER", "platform-team@acme.example", false},
		{"SUBSCRIPTION", "projects/acme-production/subscriptions/orders-created-v2", false},
		{"GREETING", "welcome-to-the-customer-portal", false},
		{"LOG_LEVEL", "info", false},
	} {
		t.Run(tt.name+"="+tt.value[:min(len(tt.value), 12)], func(t *testing.T) {
			value := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(tt.value)
			text := `{"template": {"containers": [{"env": [{"name": "` + tt.name + `", "value": "` + value + `"}]}]}}`
			f := finding(t, mustJudge(t, builtin(t, "baseline"), nil, posture.Input{Definitions: []posture.Source{source(text)}}), "SECRETS_BY_REFERENCE")
			if (f.Status == attestor.StatusDeny) != tt.secret || (f.Status == attestor.StatusPass) == tt.secret {
				t.Errorf("%s: %s", f.Status, f.Message)
			}
		})
	}
}

// TestSecretsAreNotPrinted writes a report about secrets in every format.
func TestSecretsAreNotPrinted(t *testing.T) {
	const value = "hunter2-Zr1VtYw0Xn5LsKd2Jc7Hg4"
	text := `{"name": "a", "template": {"containers": [{"image": "i:v1", "args": ["--password=` + value + `"], "env": [
		{"name": "DB_PASSWORD", "value": "` + value + `"}, {"name": "X", "value": "postgres://u:` + value + `@h/d"}]}]}}`

	r := mustJudge(t, builtin(t, "strict"), nil, posture.Input{Definitions: []posture.Source{source(text)}})
	f := finding(t, r, "SECRETS_BY_REFERENCE")

	for _, want := range []string{"DB_PASSWORD", "the value of X", "an argument"} {
		if !strings.Contains(f.Message, want) {
			t.Errorf("%q lacks %q", f.Message, want)
		}
	}

	for _, e := range report.Encodings() {
		if !slices.Contains(e.Kinds, report.OfPosture) {
			continue
		}
		if strings.Contains(write(t, e.Format, r, report.Options{}), "Zr1VtYw0") {
			t.Errorf("%s prints the secret", e.Format)
		}
	}

	// Nor do errors quote what could not be read.
	for _, text := range []string{"a: [" + value, `{"a": ` + value, "apiVersion: serving.knative.dev/v1\n" +
		"kind: Service\nspec: {template: {spec: {timeoutSeconds: " + value + "}}}\n"} {
		_, err := judge(t, builtin(t, "strict"), nil, posture.Input{Definitions: []posture.Source{source(text)}})
		if err == nil || strings.Contains(err.Error(), "Zr1VtYw0") {
			t.Errorf("%v", err)
		}
	}
}

// TestSecretsByTheLibrary: tokens of services that only their own form tells, wherever a definition has text. They are made from parts
// here, so that nothing in this file is one.
func TestSecretsByTheLibrary(t *testing.T) {
	token := "dop_v1_" + strings.Repeat("3fa9c2e7b1", 7)[:64]
	for place, edits := range map[string][]string{
		"a variable":       {"value: info", "value: " + token},
		"an argument":      {"        image: ", "        args: [--do, " + token + "]\n        image: "},
		"a field of JSON":  {"value: info", `value: '{"a": "` + token + `"}'`},
		"a probe's header": {"            path: /health\n", "            path: /health\n            httpHeaders: [{name: X-Do, value: " + token + "}]\n"},
		"an annotation":    {"    run.googleapis.com/ingress:", "    note: " + token + "\n    run.googleapis.com/ingress:"},
		"a build variable": {"    run.googleapis.com/ingress:",
			`    run.googleapis.com/build-environment-variables: '{"DO": "` + token + `"}'` +
				"\n    run.googleapis.com/ingress:"},
	} {
		f := finding(t, hipaa(t, replace(t, sample(t, "hardened.yaml"), edits...)), "SECRETS_BY_REFERENCE")
		if f.Status != attestor.StatusDeny || !strings.Contains(f.Message, "digitalocean-pat") || strings.Contains(f.Message+f.Fix, token) {
			t.Errorf("%s: %s: %s", place, f.Status, f.Message)
		}
	}

	// Of a command no word may be a secret by itself.
	password := "Zr1" + "VtYw0q8"
	for _, command := range []string{"[curl, -fsu, x, -u, 'admin:" + password + "', 'http://127.0.0.1/']", "[curl, -u, 'admin:" + password + "']"} {
		text := replace(t, sample(t, "hardened.yaml"), "        image: ", "        args: "+command+"\n        image: ")
		f := finding(t, hipaa(t, text), "SECRETS_BY_REFERENCE")
		if f.Status != attestor.StatusDeny || !strings.Contains(f.Message, "curl-auth-user") || strings.Contains(f.Message+f.Fix, password) {
			t.Errorf("%s: %s: %s", command, f.Status, f.Message)
		}
	}

	excused := custom(t, "apiVersion: attestor/v1\nkind: PostureProfile\nmetadata: {name: ours}\nspec:\n"+
		"  extends: hipaa\n  exceptions:\n    - {rule: SECRETS_BY_REFERENCE, services: [api], "+
		"subject: LOG_LEVEL, owner: a@acme.example, reason: an example's token, expires: 2027-01-31}\n")
	in := posture.Input{Definitions: []posture.Source{source(replace(t, sample(t, "hardened.yaml"), "value: info", "value: "+token))}}
	if f := finding(t, mustJudge(t, excused, nil, in), "SECRETS_BY_REFERENCE"); f.Status != attestor.StatusPass || len(f.Exceptions) != 1 {
		t.Errorf("with an exception for the variable: %s: %s", f.Status, f.Message)
	}
}

// TestPasswordsOfKnownClients: a password whose argument only its program's manual names, in the words of a command and
// in the text that a shell is given. Beside each is a command alike that has none.
func TestPasswordsOfKnownClients(t *testing.T) {
	for _, tt := range []struct {
		secret, none []string
	}{
		{[]string{"redis-cli", "-a", "hunter2", "ping"}, []string{"redis-cli", "-h", "cache", "ping"}},
		{[]string{"mysqladmin", "-uroot", "-phunter2", "ping"}, []string{"mysql", "-uroot", "-p", "orders"}},
		{[]string{"mariadb", "-phunter2"}, []string{"migrate", "-driver", "mysql", "-path", "sql"}},
		{[]string{"sshpass", "-p", "hunter2", "ssh", "host"}, []string{"sshpass", "-f", "/run/secrets/ssh", "ssh", "-p", "2222", "host"}},
		{[]string{"sshpass", "-phunter2", "ssh", "host"}, []string{"sshpass", "-e", "ssh", "-p", "2222", "host"}},
		{[]string{"sshpass", "-e", "mysqldump", "-phunter2"}, []string{"ssh", "-p", "2222", "host"}},
		{[]string{"/usr/bin/mongosh", "-u", "root", "-p", "hunter2"}, []string{"mongosh", "-u", "root", "--port", "27017"}},
		{[]string{"ldapsearch", "-x", "-w", "hunter2"}, []string{"ldapsearch", "-x", "-y", "/run/secrets/ldap"}},
		{[]string{"sqlcmd", "-U", "sa", "-Phunter2"}, []string{"sqlcmd", "-E", "-S", "db"}},
		{[]string{"cqlsh", "-u", "app", "-p", "hunter2"}, []string{"cqlsh", "-u", "app", "db"}},
		{[]string{"mosquitto_sub", "-P", "hunter2"}, []string{"mosquitto_sub", "-p", "1883"}},
		{[]string{"unzip", "-P", "hunter2", "a.zip"}, []string{"unzip", "-o", "a.zip"}},
		{[]string{"7z", "x", "-phunter2", "a.7z"}, []string{"7z", "x", "a.7z"}},
		{[]string{"docker", "login", "-u", "ci", "-p", "hunter2"}, []string{"docker", "run", "-p", "8080:80", "app"}},
		{[]string{"helm", "registry", "login", "-p", "hunter2"}, []string{"docker", "login", "-u", "ci", "--password-stdin"}},
		{[]string{"curl", "-u", "ci:hunter2", "http://127.0.0.1/"}, []string{"curl", "-u", "ci", "http://127.0.0.1/"}},
		{[]string{"curl", "-uci:hunter2"}, []string{"curl", "-H", "Accept: text/plain", "http://127.0.0.1/"}},
		{[]string{"curl", "--proxy-user", "ci:hunter2"}, []string{"curl", "--proxy", "http://proxy:3128"}},
		{[]string{"smbclient", "-U", "ci%hunter2"}, []string{"smbclient", "-U", "ci", "//host/share"}},
		{[]string{"openssl", "rsa", "-passin", "pass:hunter2"}, []string{"openssl", "rsa", "-passin", "file:/run/secrets/key"}},
		{[]string{"rabbitmqctl", "add_user", "ci", "hunter2"}, []string{"rabbitmqctl", "add_user", "ci"}},
		{[]string{"rabbitmqctl", "change_password", "-q", "ci", "hunter2"}, []string{"rabbitmqctl", "delete_user", "ci"}},
		{[]string{"timeout", "-k", "1s", "5s", "redis-cli", "-a", "hunter2"}, []string{"timeout", "5s", "redis-server", "-a", "any"}},
		{[]string{"env", "A=b", "gosu", "redis", "redis-cli", "-a", "hunter2"}, []string{"echo", "redis-cli", "-a", "hunter2"}},
		{[]string{"sh", "-c", "sleep 1 && exec redis-cli -h cache -a 'hunter2' ping"}, []string{"sh", "-c", "redis-cli -a \"$REDIS\" ping"}},
		{[]string{"sh", "-c", "A=b \\\n mysql -p\"hunter2\" < a.sql"}, []string{"sh", "-c", "mysql -p$(cat /run/secrets/db) < a.sql"}},
		{[]string{"sh", "-c", "for i in 1 2; do redis-cli -a hunter2; done"}, []string{"sh", "-c", "true # redis-cli -a hunter2"}},
		{[]string{"app", "--token", "-x9value"}, []string{"app", "--token", "--verbose"}},
		{[]string{"app", "--token", "-value"}, []string{"app", "--use-token", "-value"}},
		{[]string{"app", "--api-key", "-value"}, []string{"app", "--password-stdin", "-value"}},
		{[]string{"app", "-password", "-value"}, []string{"app", "--password", "-h", "db"}},
		{[]string{"app", "--token", "-X9=value"}, []string{"app", "--token", "-config=value"}},
	} {
		for _, c := range []struct {
			words  []string
			secret bool
		}{{tt.secret, true}, {tt.none, false}} {
			args, err := json.Marshal(c.words)
			if err != nil {
				t.Fatal(err)
			}
			text := `{"template": {"containers": [{"args": ` + string(args) + `}]}}`
			f := finding(t, mustJudge(t, builtin(t, "baseline"), nil, posture.Input{Definitions: []posture.Source{source(text)}}), "SECRETS_BY_REFERENCE")
			if (f.Status == attestor.StatusDeny) != c.secret || (f.Status == attestor.StatusPass) == c.secret || strings.Contains(f.Message, "hunter2") {
				t.Errorf("%q: %s: %s", c.words, f.Status, f.Message)
			}
		}
	}
}
