// tessera-bench -dir DIR -events FILE [-await N]: what Tessera's POSIX driver does in process, without HTTP, tenants or
// search, on the events of a file (one per line). No antispam; batching, pushback and everything else as it comes.
//
// First the throughput: every event is added as fast as pushback lets it, and the clock stops when the last one is
// integrated: the driver's future resolves only then. Then, on the same log, single events at random moments, each awaited:
// with the default batching and, since that mostly waits for company, with a batch age of 1 ms. Prints one line of JSON.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"log"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"
)

type result struct {
	Events        int       `json:"events"`
	Seconds       float64   `json:"seconds"`
	AwaitMs       []float64 `json:"await_ms"`
	AwaitQuickMs  []float64 `json:"await_quick_ms"`
	IntegratedLog uint64    `json:"integrated"`
}

func main() {
	dir := flag.String("dir", "", "folder of the log, on the disk under test")
	file := flag.String("events", "", "file with one event per line")
	awaited := flag.Int("await", 100, "events to await one after the other")
	flag.Parse()
	content, err := os.ReadFile(*file)
	if err != nil {
		log.Fatal(err)
	}
	lines := bytes.Split(bytes.TrimSpace(content), []byte("\n"))
	ctx := context.Background()

	var out result
	standard := open(ctx, filepath.Join(*dir, "log"), tessera.NewAppendOptions())
	out.Events, out.Seconds = len(lines), standard.addAll(ctx, lines)
	if out.IntegratedLog, err = standard.reader.IntegratedSize(ctx); err != nil {
		log.Fatal(err)
	}
	out.AwaitMs = standard.await(ctx, lines, *awaited)
	quick := open(ctx, filepath.Join(*dir, "quick"), tessera.NewAppendOptions().WithBatching(tessera.DefaultBatchMaxSize, time.Millisecond))
	out.AwaitQuickMs = quick.await(ctx, lines, *awaited)
	if err := json.NewEncoder(os.Stdout).Encode(out); err != nil {
		log.Fatal(err)
	}
}

type logUnderTest struct {
	appender *tessera.Appender
	reader   tessera.LogReader
}

func open(ctx context.Context, dir string, options *tessera.AppendOptions) logUnderTest {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		log.Fatal(err)
	}
	secret, _, err := note.GenerateKey(rand.Reader, "bench.invalid/log")
	if err != nil {
		log.Fatal(err)
	}
	signer, err := note.NewSigner(secret)
	if err != nil {
		log.Fatal(err)
	}
	driver, err := posix.New(ctx, posix.Config{Path: dir})
	if err != nil {
		log.Fatal(err)
	}
	appender, _, reader, err := tessera.NewAppender(ctx, driver, options.WithCheckpointSigner(signer))
	if err != nil {
		log.Fatal(err)
	}
	return logUnderTest{appender, reader}
}

// addAll keeps as many events outstanding as the driver takes.
func (l logUnderTest) addAll(ctx context.Context, lines [][]byte) float64 {
	type pending struct {
		line   []byte
		future tessera.IndexFuture
	}
	// Fewer than pushback allows, so that none is refused for good; the driver's own limit is what is felt.
	outstanding := make(chan pending, tessera.DefaultPushbackMaxOutstanding-1)
	done := make(chan struct{})
	start := time.Now()
	go func() {
		defer close(done)
		for p := range outstanding {
			for {
				_, err := p.future()
				if err == nil {
					break
				}
				if !errors.Is(err, tessera.ErrPushback) {
					log.Fatal(err)
				}
				p.future = l.appender.Add(ctx, tessera.NewEntry(p.line))
			}
		}
	}()
	for _, line := range lines {
		outstanding <- pending{line, l.appender.Add(ctx, tessera.NewEntry(line))}
	}
	close(outstanding)
	<-done
	return time.Since(start).Seconds()
}

func (l logUnderTest) await(ctx context.Context, lines [][]byte, n int) []float64 {
	var taken []float64
	for i := range n {
		// Else each one would come right after the end of a batch, and wait for a whole one.
		time.Sleep(time.Duration(mathrand.Int64N(int64(tessera.DefaultBatchMaxAge))))
		start := time.Now()
		if _, err := l.appender.Add(ctx, tessera.NewEntry(lines[i%len(lines)]))(); err != nil {
			log.Fatal(err)
		}
		taken = append(taken, float64(time.Since(start).Microseconds())/1000)
	}
	return taken
}
