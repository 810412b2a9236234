module lab/runcshim

go 1.26
