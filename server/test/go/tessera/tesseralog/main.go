// tesseralog DIR: a log of Tessera's POSIX driver that publishes no checkpoint before its witnesses have cosigned it. Prints its
// verifier key, reads the policy that names the witnesses from standard input, adds three batches of entries, and prints
// each published checkpoint as a JSON string. Given the same folder again it goes on with that log, knowing nothing of what
// the witnesses have seen.
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"
)

func main() {
	log.SetFlags(0)
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	if err := run(ctx, os.Args[1]); err != nil {
		log.Fatal("FAILED: ", err)
	}
}

func run(ctx context.Context, dir string) error {
	signer, vkey, err := keys(filepath.Join(dir, "key"))
	if err != nil {
		return err
	}
	fmt.Println(vkey)
	policy, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	witnesses, err := tessera.NewWitnessGroupFromPolicy(policy)
	if err != nil {
		return err
	}
	driver, err := posix.New(ctx, posix.Config{Path: filepath.Join(dir, "log")})
	if err != nil {
		return err
	}
	options := tessera.NewAppendOptions().WithCheckpointSigner(signer).WithBatching(256, 20*time.Millisecond).
		WithCheckpointInterval(time.Second).WithWitnesses(witnesses, nil)
	appender, shutdown, reader, err := tessera.NewAppender(ctx, driver, options)
	if err != nil {
		return err
	}
	published := tessera.NewPublicationAwaiter(ctx, reader.ReadCheckpoint, 50*time.Millisecond)
	for batch := range 3 {
		var last tessera.IndexFuture
		for n := range 100 * (batch + 1) {
			last = appender.Add(ctx, tessera.NewEntry(fmt.Appendf(nil, "%d %d %d", time.Now().UnixNano(), batch, n)))
		}
		_, checkpoint, err := published.Await(ctx, last)
		if err != nil {
			return err
		}
		if err := json.NewEncoder(os.Stdout).Encode(string(checkpoint)); err != nil {
			return err
		}
	}
	return shutdown(ctx)
}

// keys reads the log's key pair, or makes one.
func keys(path string) (note.Signer, string, error) {
	if _, err := os.Stat(path); os.IsNotExist(err) {
		secret, vkey, err := note.GenerateKey(rand.Reader, "tessera.test/log")
		if err != nil {
			return nil, "", err
		}
		if err := os.WriteFile(path, []byte(secret+"\n"+vkey), 0o600); err != nil {
			return nil, "", err
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, "", err
	}
	secret, vkey, _ := strings.Cut(string(text), "\n")
	signer, err := note.NewSigner(secret)
	return signer, vkey, err
}
