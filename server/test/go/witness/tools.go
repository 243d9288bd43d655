//go:build tools

// Pins the C2SP witness that the tests run: torchwood's litewitness, and the program that fills its list of logs.
package tools

import (
	_ "filippo.io/torchwood/cmd/litewitness"
	_ "filippo.io/torchwood/cmd/witnessctl"
)
