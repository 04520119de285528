// A grpc-go client, on xds:/// or not, which knows nothing of meshlib.
//
// Usage: client TARGET [AUTHORITY]; the bootstrap stands in GRPC_XDS_BOOTSTRAP_CONFIG. For each
// number read, that many calls are made, a few at a time, and what came of them is printed. Any
// other line is a target to connect to as well.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	_ "google.golang.org/grpc/xds"

	"meshlib/judges/internal/raw"
)

const (
	timeout     = 20 * time.Second
	concurrency = 4
)

func main() {
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(raw.Codec{})),
	}
	if len(os.Args) > 2 {
		options = append(options, grpc.WithAuthority(os.Args[2]))
	}
	conn, err := grpc.NewClient(os.Args[1], options...)
	if err != nil {
		log.Fatal(err)
	}
	answers := json.NewEncoder(os.Stdout)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		counts := map[string]int{}
		if times, err := strconv.Atoi(lines.Text()); err == nil {
			counts = calls(conn, times)
		} else {
			other, err := grpc.NewClient(lines.Text(), options...)
			if err != nil {
				log.Fatal(err)
			}
			defer other.Close()
			other.Connect()
		}
		if err := answers.Encode(counts); err != nil {
			log.Fatal(err)
		}
	}
}

func calls(conn *grpc.ClientConn, times int) map[string]int {
	var (
		group  sync.WaitGroup
		mutex  sync.Mutex
		counts = map[string]int{}
		work   = make(chan struct{})
	)
	for range concurrency {
		group.Go(func() {
			for range work {
				answer := call(conn)
				mutex.Lock()
				counts[answer]++
				mutex.Unlock()
			}
		})
	}
	for range times {
		work <- struct{}{}
	}
	close(work)
	group.Wait()
	return counts
}

func call(conn *grpc.ClientConn) string {
	named := metadata.AppendToOutgoingContext(context.Background(), "x-who", "judge")
	ctx, cancel := context.WithTimeout(named, timeout)
	defer cancel()
	var question, answer []byte
	if err := conn.Invoke(ctx, raw.Path, &question, &answer); err != nil {
		said := status.Convert(err)
		return fmt.Sprintf("failed: %s %s", said.Code(), said.Message())
	}
	return string(answer)
}
