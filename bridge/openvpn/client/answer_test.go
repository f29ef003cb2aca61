package client

import (
	"os/exec"
	"strings"
	"testing"

	"ztbridge/bridge/openvpn/profile"
)

// A server that wants a second factor is told from one that refuses the credentials, and its
// challenge, which holds the user's name, is shown nowhere.
func TestSecondFactor(t *testing.T) {
	const challenge = "CRV1:R,E:Om01u7Fh4LrGBS7uh0SWmzwabUiGiW6l:YWxpY2U=:Enter code: six digits"
	for line, want := range map[string]failure{
		"Verification Failed: 'Auth' ['" + challenge + "']": {StateAuthFailed,
			"the server wants a second factor: Enter code: six digits", remedySecondFactor},
		"Verification Failed: 'Auth' ['CRV1:R:x:YWxpY2U=:']": {StateAuthFailed,
			"the server wants a second factor", remedySecondFactor},
		"Verification Failed: 'Auth' ['account expired']": {StateAuthFailed,
			"the server rejected the user name or password: account expired", remedyCredentials},
		"Verification Failed: 'Auth' ['CRV1 is what we say']": {StateAuthFailed,
			"the server rejected the user name or password: CRV1 is what we say", remedyCredentials},
		"Verification Failed: 'Auth'": {StateAuthFailed,
			"the server rejected the user name or password", remedyCredentials},
	} {
		r := &run{t: newIdleTunnel(t)}
		refusal, ok := parsePassword(line).(refuseEvent)
		if !ok {
			t.Fatalf("%s is no refusal", line)
		}
		if v := r.refused(refusal); v != nil || r.lastFailure != want {
			t.Errorf("%s\n\tis %+v, %+v\n\twant %+v", line, r.lastFailure, v, want)
		}
		r.logLine("I", "AUTH: Received control message: AUTH_FAILED,"+challenge)
		for _, l := range r.t.Log() {
			if strings.Contains(l.Text, "YWxpY2U") || !strings.Contains(l.Text, "Enter code") {
				t.Errorf("the log holds %q", l.Text)
			}
		}
	}
}

// What was not given is asked for by the remedy that says where to put it.
func TestNotGiven(t *testing.T) {
	for what, want := range map[string]string{"Auth": remedyCredentials,
		"Private Key": remedyPassphrase} {
		r := &run{t: newIdleTunnel(t)}
		if v := r.answerPassword(what); v == nil || v.failure.state != StateConfigError ||
			v.failure.remedy != want {
			t.Errorf("%s: %+v, want the remedy %q", what, v, want)
		}
	}
}

func TestEncryptedKey(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	l := newLab(t)
	l.serve("udp")
	for name, encrypt := range map[string][]string{
		"PKCS #8":     {"pkcs8", "-topk8", "-v2", "aes-256-cbc", "-passout", "pass:open sesame"},
		"traditional": {"ec", "-aes256", "-passout", "pass:open sesame"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command("openssl", encrypt...)
			cmd.Stdin = strings.NewReader(l.pki.Client.Key)
			key, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			text := strings.Replace(l.profile("remote "+serverAddr+" 1194"), l.pki.Client.Key,
				string(key), 1)
			c := l.dial(text, func(c *Config) {
				c.Credentials = &profile.Credentials{KeyPassphrase: "open sesame"}
			})
			c.awaitGeneration(1)
			c.ping()
			c.stop()

			c = l.dial(text, func(c *Config) {
				c.Credentials = &profile.Credentials{KeyPassphrase: "open barley"}
			})
			s := c.awaitState(StateConfigError)
			if !strings.Contains(s.Cause, "passphrase") ||
				!strings.Contains(s.Remedy, "passphrase") ||
				strings.Contains(c.logText(), "barley") {
				t.Errorf("%q, %q\n%s", s.Cause, s.Remedy, c.logText())
			}
			c.stop()
		})
	}
}
