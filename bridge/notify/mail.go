package notify

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"

	"github.com/wneessen/go-mail"

	"ztbridge/bridge/health"
)

// Security says how a connection to a mail server is encrypted.
type Security string

// The ways.
const (
	StartTLS Security = "starttls" // from the server's greeting on, or not at all
	TLS      Security = "tls"      // from the first byte
	NoTLS    Security = "none"     // never; no password is sent
)

// MailConfig says who sends mail to whom.
type MailConfig struct {
	Host               string
	Port               uint16
	Security           Security
	From               string
	To                 []string
	Username, Password string // empty: the server asks nobody
}

// Mail sends messages by SMTP.
type Mail struct{ cfg MailConfig }

// NewMail returns a sender.
func NewMail(cfg MailConfig) *Mail { return &Mail{cfg} }

// Send implements Sender.
func (s *Mail) Send(ctx context.Context, dial Dial, m Message) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // the library leaves a connection open that it could not use
	auth := mail.SMTPAuthAutoDiscover
	if s.cfg.Security == TLS {
		auth = mail.SMTPAuthPlain // the library cannot see that our connection is encrypted
	}
	err := s.send(ctx, dial, m, auth)
	if errors.Is(err, mail.ErrPlainAuthNotSupported) {
		err = s.send(ctx, dial, m, mail.SMTPAuthLogin)
	}
	if err == nil {
		return nil
	}
	if refused, ok := errors.AsType[*mail.SendError](err); ok && refused.ErrorCode() != 0 {
		err = &Refusal{Text: fmt.Sprintf("%s refuses the mail: %v", s.cfg.Host, err),
			Remedy: "check from: and to:"}
	}
	return hide(err, s.secrets()...)
}

// secrets returns the password in all forms in which a server could quote it.
func (s *Mail) secrets() []string {
	encode := base64.StdEncoding.EncodeToString
	user, password := s.cfg.Username, s.cfg.Password
	if password == "" {
		return nil
	}
	return []string{password, encode([]byte("\x00" + user + "\x00" + password)),
		encode([]byte(password)), encode([]byte(user))}
}

func (s *Mail) send(ctx context.Context, dial Dial, m Message, auth mail.SMTPAuthType) error {
	letter := mail.NewMsg()
	if err := letter.From(s.cfg.From); err != nil {
		return fmt.Errorf("writing the sender: %w", err)
	}
	if err := letter.To(s.cfg.To...); err != nil {
		return fmt.Errorf("writing the recipients: %w", err)
	}
	letter.Subject(cut(m.Title, maxTitle))
	letter.SetDateWithValue(m.Time)
	letter.SetMessageID()
	// no program answers it
	letter.SetGenHeader("Auto-Submitted", "auto-generated")
	if m.Severity == health.Error {
		letter.SetImportance(mail.ImportanceHigh)
	}
	letter.SetBodyString(mail.TypeTextPlain, m.Text+"\n")

	secure := &tls.Config{ServerName: s.cfg.Host, MinVersion: tls.VersionTLS12}
	options := []mail.Option{mail.WithPort(int(s.cfg.Port)), mail.WithTimeout(sendTimeout),
		mail.WithTLSConfig(secure), mail.WithTLSPolicy(mail.TLSMandatory), mail.WithoutNoop(),
		mail.WithDialContextFunc(func(_ context.Context, network, at string) (net.Conn, error) {
			return s.connect(ctx, dial, network, at, secure)
		})}
	switch s.cfg.Security {
	case TLS:
		options = append(options, mail.WithSSL())
	case NoTLS:
		options = append(options, mail.WithTLSPolicy(mail.NoTLS))
	}
	if s.cfg.Username != "" {
		options = append(options, mail.WithSMTPAuth(auth), mail.WithUsername(s.cfg.Username),
			mail.WithPassword(s.cfg.Password))
	}
	client, err := mail.NewClient(s.cfg.Host, options...)
	if err != nil {
		return err
	}
	return client.DialAndSendWithContext(ctx, letter)
}

// connect returns a connection that ends with ctx: a server that says nothing holds nobody up.
func (s *Mail) connect(ctx context.Context, dial Dial, network, at string,
	secure *tls.Config) (net.Conn, error) {
	conn, err := dial(ctx, network, at)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { _ = conn.Close() })
	if s.cfg.Security != TLS {
		return conn, nil
	}
	encrypted := tls.Client(conn, secure)
	if err := encrypted.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return encrypted, nil
}
