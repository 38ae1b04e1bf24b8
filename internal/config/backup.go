package config

import (
	"filippo.io/age"
)

// MakeBackupKey is the command that makes a key and keeps it as a secret.
const MakeBackupKey = "go run ./cmd/keys backup | pulumi config set --secret " + KeyBackupKey

// backupKey reads the operator's own key of the backups: the machine gets its public half alone.
func (r *reader) backupKey() *age.X25519Identity {
	v := r.value(KeyBackupKey)
	if v == "" {
		return nil
	}
	identity, err := age.ParseX25519Identity(v)
	switch {
	case !r.secret(KeyBackupKey):
		r.faultKey(KeyBackupKey, errNotSecret, "expected a secret", "pulumi config rm "+KeyBackupKey+"\n"+MakeBackupKey+"\nthe old key was readable: whoever has it reads the backups that were encrypted to it")
	case err != nil:
		r.faultKey(KeyBackupKey, errNotBackupKey, "expected AGE-SECRET-KEY-1 and 58 characters", MakeBackupKey)
	}
	return identity
}
