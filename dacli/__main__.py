from dacli.cli.main import main

main()
