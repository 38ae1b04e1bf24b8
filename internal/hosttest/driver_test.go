package hosttest

// loading is how each driver begins: what loads a program of the host's, which is no module by its name, and a clock that
// is shifted by what the file "shift" of a folder says.
const loading = `
import importlib.machinery, importlib.util, sys, time
sys.dont_write_bytecode = True
def load(path):
    loader = importlib.machinery.SourceFileLoader("program", path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("program", loader))
    loader.exec_module(module)
    return module
def clock(root):
    def shifted():
        try:
            return time.time() + float(open(root + "/shift").read())
        except OSError:
            return time.time()
    return shifted
`
