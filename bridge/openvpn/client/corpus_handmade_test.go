package client

import (
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ztbridge/bridge/openvpn/ovpntest"
)

// handmadeShapes are of texts that people and programs have had in their hands.
func handmadeShapes(t *testing.T, l *lab) []shape {
	edit := func(name string, f func(string) string) shape { return shape{name: name, edit: f} }
	line := func(name string, lines ...string) shape { return shape{name: name, profile: lines} }
	apart := func(s shape, why string) shape { s.differs = why; return s }
	no := func(s shape, refused string) shape { s.refused = refused; return s }
	auth, crypt := ovpntest.Inline("tls-auth", ovpntest.StaticKey(1)), ovpntest.Inline("tls-crypt",
		ovpntest.StaticKey(2))
	attributes := "Bag Attributes\n    localKeyID: 01 02\n    friendlyName: alice\n" +
		"Key Attributes: <No Attributes>\n"
	wrap := func(text string, n int) string {
		block, _ := pem.Decode([]byte(text))
		all := strings.Join(strings.Fields(strings.Split(text, "-----")[2]), "")
		var b strings.Builder
		fmt.Fprintf(&b, "-----BEGIN %s-----\n", block.Type)
		for len(all) > n {
			fmt.Fprintln(&b, all[:n])
			all = all[n:]
		}
		fmt.Fprintf(&b, "%s\n-----END %s-----\n", all, block.Type)
		return b.String()
	}
	wrapped := func(n int) func(string) string {
		return func(s string) string {
			for _, text := range []string{l.pki.CA.PEM, l.pki.Client.PEM, l.pki.Client.Key} {
				s = strings.Replace(s, text, wrap(text, n), 1)
			}
			return s
		}
	}
	subject := "/C=CH/O=Z\u00fcrich & S\u00f6hne \u201cNord\u201d/CN=server.example.net"
	server := namedServer(t, l, subject)
	return []shape{
		line("escapes", `setenv FRIENDLY_NAME "a \"b\" \\ c"`, `setenv-safe X a\ b`,
			`setenv UV_PATH 'C:\x'`, `verify-x509-name "server.example.net" "name"`),
		line("lines that end in a backslash", `verb 3 \`, `mute 3 \ `, `\`),
		no(line("a word that ends in a backslash", `remote-cert-tls server\`),
			"ends in a backslash"),
		no(line("a comment without a space", "remote-cert-tls server#ours"),
			"not of the expected form"),
		line("a comment behind a number", "verb 3;all", "mute 3#all"),
		edit("white space of all kinds", func(s string) string {
			return strings.NewReplacer("remote 192", "\v\fremote\t\v192", "dev tun",
				"\t dev \t tun\v\f").Replace(s)
		}),
		no(edit("tags in capitals", func(s string) string {
			return strings.NewReplacer("<ca>", "<CA>", "</ca>", "</CA>").Replace(s)
		}), "it has no ca"),
		apart(line("directives in capitals", "Cipher AES-256-CBC"),
			"official ends; we say that it is unknown"),
		edit("a file of Windows, then a block", func(s string) string {
			return "ca \"C:\\\\Program Files\\\\OpenVPN\\\\ca.crt\"\n" + s
		}),
		no(edit("a file of Windows with single backslashes", func(s string) string {
			return "ca C:\\Users\\alice\\ca.crt\n" + s
		}), "backslash"),
		no(line("tls-auth and tls-crypt-v2", auth, "<tls-crypt-v2>\n"+ovpntest.StaticKey(1)+
			"</tls-crypt-v2>"), "tls-crypt-v2 client key"),
		{name: "tls-auth in a connection, tls-crypt for all", server: []string{auth},
			profile: []string{crypt, "<connection>\nremote 192.0.2.2 PORT\n" + auth +
				"\n</connection>"}},
		edit("bag attributes", func(s string) string {
			return strings.NewReplacer("<cert>\n", "<cert>\n"+attributes, "<key>\n",
				"<key>\n"+attributes, "</ca>", attributes+"</ca>").Replace(s)
		}),
		edit("the key in the certificate's block, too", func(s string) string {
			return strings.Replace(s, "<cert>\n", "<cert>\n"+l.pki.Client.Key, 1)
		}),
		edit("the certificate in the key's block, too", func(s string) string {
			return strings.Replace(s, "<key>\n", "<key>\n"+l.pki.Client.PEM, 1)
		}),
		edit("a revocation list among the authorities", func(s string) string {
			return strings.Replace(s, "</ca>", l.pki.Revocations()+"</ca>", 1)
		}),
		edit("PEM of 76 characters a line", wrapped(76)),
		edit("PEM of 48 characters a line", wrapped(48)),
		edit("PEM of 250 characters a line", wrapped(250)),
		edit("PEM of one line", wrapped(4000)),
		apart(edit("blank lines in PEM", func(s string) string {
			for _, text := range []string{l.pki.CA.PEM, l.pki.Client.PEM, l.pki.Client.Key} {
				s = strings.Replace(s, text, strings.ReplaceAll(text, "\n", "\n\n"), 1)
			}
			return s
		}), "OpenSSL takes a blank line for the end of headers"),
		edit("spaces behind lines of PEM", func(s string) string {
			return strings.ReplaceAll(s, "\n", "  \n")
		}),
		edit("BOM, CRLF and no end", func(s string) string {
			return "\uFEFF" + strings.TrimSpace(strings.ReplaceAll(s, "\n", "\r\n"))
		}),
		{name: "subject of the server with an umlaut", profile: []string{
			"verify-x509-name \"C=CH, O=Z\u00fcrich & S\u00f6hne \u201cNord\u201d, " +
				"CN=server.example.net\" subject"}, server: []string{server}},
		edit("dots around", func(s string) string {
			return strings.Replace(s, "</ca>", "...\n</ca>\n", 1)
		}),
		edit("a name twice in ignore", func(s string) string {
			return "ignore-unknown-option cipher data-ciphers nosuch\nnosuch 1\n" + s
		}),
		no(edit("a placeholder of Azure", func(s string) string {
			return strings.NewReplacer(l.pki.Client.PEM, "$CLIENTCERTIFICATE\n", l.pki.Client.Key,
				"$PRIVATEKEY\n").Replace(s)
		}), "placeholder"),
		no(edit("a request in the certificate's place", func(s string) string {
			return strings.Replace(s, l.pki.Client.PEM, signingRequest(t, l), 1)
		}), "request"),
		no(edit("a public key in the private one's place", func(s string) string {
			return strings.Replace(s, l.pki.Client.Key, publicKey(t, l), 1)
		}), "public"),
	}
}

// namedServer returns the blocks of a server's certificate with a subject.
func namedServer(t *testing.T, l *lab, subject string) string {
	t.Helper()
	ca, key := writePEM(t, l, "named-ca.pem", l.pki.CA.PEM),
		writePEM(t, l, "named.key", l.pki.Server.Key)
	caKey := writePEM(t, l, "named-ca.key", l.pki.CA.Key)
	extensions := writePEM(t, l, "named.ext",
		"extendedKeyUsage=serverAuth\nkeyUsage=digitalSignature\n")
	cmd := exec.Command("sh", "-c", fmt.Sprintf(`openssl req -new -utf8 -key %s -subj "$SUBJECT" |
		openssl x509 -req -CA %s -CAkey %s -days 30 -set_serial 9 -extfile %s`, key, ca, caKey,
		extensions))
	cmd.Env = append(cmd.Environ(), "SUBJECT="+subject)
	out, err := cmd.Output()
	if err != nil {
		t.Error(err)
	}
	return ovpntest.Inline("cert", string(out)) + "\n" + ovpntest.Inline("key", l.pki.Server.Key)
}

// signingRequest returns a request for the client's certificate; publicKey its public key.
func signingRequest(t *testing.T, l *lab) string {
	return opensslOf(t, l, "req", "-new", "-subj", "/CN=customer-1", "-key")
}

func publicKey(t *testing.T, l *lab) string { return opensslOf(t, l, "pkey", "-pubout", "-in") }

func opensslOf(t *testing.T, l *lab, args ...string) string {
	t.Helper()
	key := writePEM(t, l, "of.key", l.pki.Client.Key)
	out, err := exec.Command("openssl", append(args, key)...).Output()
	if err != nil {
		t.Error(err)
	}
	return string(out)
}

// damagedShapes are of keys and certificates that are not whole inside.
func damagedShapes(l *lab) []shape {
	cut := func(text string) string {
		block, _ := pem.Decode([]byte(text))
		block.Bytes = block.Bytes[:len(block.Bytes)-20]
		return string(pem.EncodeToMemory(block))
	}
	// inner shortens what is inside, by a length in it that is too large.
	inner := func(text string) string {
		block, _ := pem.Decode([]byte(text))
		at := 7
		block.Bytes[at] = 0x7f
		return string(pem.EncodeToMemory(block))
	}
	instead := func(name, old string, damage func(string) string) shape {
		return shape{name: name, refused: "damaged", edit: func(s string) string {
			return strings.Replace(s, old, damage(old), 1)
		}}
	}
	extra := instead("damaged extra-certs", "nobind\n", func(s string) string {
		return s + ovpntest.Inline("extra-certs", cut(l.pki.CA.PEM)) + "\n"
	})
	return []shape{extra,
		instead("damaged authority", l.pki.CA.PEM, cut),
		instead("damaged certificate", l.pki.Client.PEM, cut),
		instead("damaged key", l.pki.Client.Key, cut),
		instead("authority damaged inside", l.pki.CA.PEM, inner),
		instead("certificate damaged inside", l.pki.Client.PEM, inner),
		instead("key damaged inside", l.pki.Client.Key, inner),
	}
}

func writePEM(t *testing.T, l *lab, name, text string) string {
	t.Helper()
	path := filepath.Join(l.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
