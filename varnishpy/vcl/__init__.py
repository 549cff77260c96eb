"""VCL: the compiler (source text to Python source) and the runtime that the generated code uses."""
